"""An example of every message, as OpenAPI shows it: real values that encode, decode, hash and verify."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from inductory_client.contract import lease, lifetime, wire
from inductory_client.contract.agreement import Comparison, PartDifference
from inductory_client.contract.artifact import Artifact, Subject
from inductory_client.contract.blob import pack
from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.descriptor import PAYLOAD, PYTHON, Descriptor
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import ArtifactMissing
from inductory_client.contract.manifest import BLUEPRINT, Manifest, ManifestEntry
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.statement import Signature
from inductory_client.contract.target import FactorDifference, Target

from .problems import problem_of
from .version import __version__

_HOLDER, _TOKEN = "node-7:4711:9f86d081", "60303ae22b998861bce3b28f33eec1be"
_REASON = "InductorError: CppCompileError: C++ compile error"
_AT = "2026-01-02T03:04:05Z"
_PAYLOAD = b"the bytes of a payload"
_BLUEPRINT = b"class GraphModule(torch.nn.Module): ...\n"
_TARGET = Target({"cpu.isa": "avx2", "python": "3.12", "torch": "2.13.0"})


def examples() -> dict[type[Any], Any]:
    """Return an example by message type."""
    artifact = _artifact()
    manifest = _manifest(artifact)
    build = _build(manifest)
    other = digest_of(b"another piece")
    difference = FactorDifference("cpu.isa", "avx2", "avx512")
    messages: list[Any] = [
        artifact,
        manifest,
        build,
        wire.BlobsWanted(digests=(digest_of(_PAYLOAD), other)),
        wire.BlobsMissing(missing=(other,)),
        wire.UploadWanted(size=5 << 20, packed_size=2 << 20),
        wire.UploadOffered(
            upload="695723f5-500000-60303ae22b998861bce3b28f33eec1be",
            url=f"https://bucket.example/inductory-uploads/{other}/695723f5-500000-60303ae2?X-Amz-Signature=...",
            headers={"Content-Type": "application/zstd"},
            expires_in_s=300,
        ),
        wire.Resolve(
            artifacts=(
                wire.ArtifactWanted(key=artifact.key),
                wire.ArtifactWanted(key=other, graph_digest=artifact.subject.graph_digest),
            ),
            target=_TARGET,
        ),
        wire.Resolved(
            hits=(artifact,),
            misses=(wire.Miss(key=other, nearest=wire.Nearest(key=artifact.key, differences=(difference,))),),
            blobs={digest_of(_PAYLOAD): pack(_PAYLOAD)},
        ),
        wire.Published(key=artifact.key, outcome="created", signer=artifact.signature.signer),
        _agreement(artifact),
        wire.ManifestStored(id=manifest.id, created=True),
        wire.BuildStored(key=build.key, created=True, entries=len(build.entries)),
        wire.LookupPage(entries=(_lookup_entry(artifact, manifest, build),), next=None),
        wire.BuildPage(builds=(_summary(build),), next=None),
        lease.LeasesWanted(holder=_HOLDER, keys=(artifact.key, other), seconds=30),
        lease.Leased(
            granted=(lease.Lease(key=other, token=_TOKEN),),
            held=(lease.HeldKey(key=digest_of(b"held"), expires_in_s=12.5),),
            published=(artifact.key,),
            failed=(lease.FailedKey(key=digest_of(b"failed"), reason=_REASON, retry_in_s=42.0),),
        ),
        lease.Heartbeat(leases=(lease.Lease(key=other, token=_TOKEN),), seconds=30),
        lease.LeasesRenewed(keys=(other,)),
        lease.LeasesEnded(leases=(lease.LeaseEnd(key=other, token=_TOKEN, failure=_REASON),)),
        lease.LeasesReleased(released=1),
        lease.KeysAwaited(keys=(other,), wait_s=20),
        lease.Standing(published=(other,)),
        lifetime.RootWanted(label="in production", expires_in_s=2_592_000),
        lifetime.RootStored(root=_root(build), created=True),
        _root(build),
        lifetime.RootPage(roots=(_root(build),), next=None),
        lifetime.Retention(unused_days=90, bytes_max=1 << 40),
        lifetime.RetentionKept(
            namespace=build.namespace, retention=lifetime.Retention(unused_days=90), used_bytes=97
        ),
        wire.Events(events=(wire.Event(kind="load", at=1767323045, count=12, artifact=artifact.key),)),
        wire.EventsStored(stored=1),
        wire.Stats(builds=1, artifacts=1, dispatches=0, agreed=0, disagreed=1, blobs=2, bytes_at_rest=97),
        wire.Status(status="ok", version=__version__, checks={"database": "ok", "blobs": "ok"}),
        problem_of(ArtifactMissing()),
    ]
    return {type(message): message for message in messages}


def _artifact() -> Artifact:
    subject = Subject(
        graph_digest=digest_of(b"the canonical form of a submodule"),
        shape=(1, 16384),
        backend="inductor",
        options={"max_autotune": "True"},
        target=_TARGET,
        descriptors=(Descriptor(media_type=PAYLOAD, digest=digest_of(_PAYLOAD), size=len(_PAYLOAD)),),
    )
    # This key signs the example and nothing else: everyone who reads this knows it, so nobody trusts it.
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(digest_of(b"the example in OpenAPI")))
    signature = Signature(
        public_key=key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
        value=key.sign(subject.signed_bytes),
    )
    provenance = Provenance(
        builder="torch.compile", created_at=_AT, compile_seconds=12.5, versions={"torch": "2.13.0"}
    )
    return Artifact(subject=subject, signature=signature, provenance=provenance)


def _manifest(artifact: Artifact) -> Manifest:
    entry = ManifestEntry(shape=(1, 16384), submodule_index=0, backend="inductor", artifact=artifact.key)
    document = Descriptor(
        media_type=PYTHON, digest=digest_of(_BLUEPRINT), size=len(_BLUEPRINT), name=BLUEPRINT
    )
    return Manifest(
        graph_digest=digest_of(b"the outer graph"),
        guards_digest=digest_of(b"its guards"),
        submodules=3,
        entries=(entry,),
        documents=(document,),
    )


def _build(manifest: Manifest) -> Build:
    return Build(
        model="Qwen/Qwen3-1.7B",
        sources=digest_of(b"the sources that are traced"),
        config=digest_of(b"the configuration"),
        rank_layout={"world_size": "1"},
        target=_TARGET,
        entries=(BuildEntry(name="forward", manifest=manifest.id),),
    )


def _lookup_entry(artifact: Artifact, manifest: Manifest, build: Build) -> wire.LookupEntry:
    subject, payload = artifact.subject, artifact.subject.descriptors[0]
    return wire.LookupEntry(
        artifact=artifact.key,
        scheme=subject.scheme,
        scheme_key=None,
        shape=subject.shape,
        submodule_index=0,
        backend=subject.backend,
        manifest=manifest.id,
        build=build.key,
        model=build.model,
        target=subject.target.fingerprint,
        digest=payload.digest,
        size=payload.size,
        compile_seconds=artifact.provenance.compile_seconds,
        signer=artifact.signature.signer,
        reproduced=1,
        different=1,
    )


def _agreement(artifact: Artifact) -> wire.Agreement:
    signer, builder = artifact.signature.signer, artifact.provenance.builder
    part = PartDifference(media_type=PAYLOAD, name="", how="different")
    comparisons = (Comparison(differing=1, parts=(part,)), Comparison(differing=0))
    return wire.Agreement(
        key=artifact.key,
        signer=signer,
        builder=builder,
        created_at=_AT,
        reproduced=1,
        different=1,
        repeats=tuple(
            wire.Repeat(signer=signer, builder=builder, created_at=_AT, comparison=each)
            for each in comparisons
        ),
    )


def _root(build: Build) -> lifetime.Root:
    return lifetime.Root(
        namespace=build.namespace,
        kind="build",
        key=build.key,
        label="in production",
        created_at=_AT,
        expires_at=None,
        expired=False,
    )


def _summary(build: Build) -> wire.BuildSummary:
    return wire.BuildSummary(
        key=build.key,
        namespace=build.namespace,
        component=build.component,
        model=build.model,
        target=build.target.fingerprint,
        entries=len(build.entries),
        graphs=1,
        artifacts=1,
        dispatches=0,
        created_at=_AT,
    )
