"""Real messages for tests of the store: signed with real keys, made of real bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact, Subject
from inductory_client.contract.blob import pack
from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.descriptor import LOADABLE_DISPATCH, PAYLOAD, Descriptor
from inductory_client.contract.digest import digest_of
from inductory_client.contract.key import BACKEND, DISPATCH_BACKEND
from inductory_client.contract.lease import LEASE_HEADER
from inductory_client.contract.manifest import Manifest, ManifestEntry
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.shape import Shape
from inductory_client.contract.statement import Signature
from inductory_client.contract.target import Target

TARGET = Target({"cpu.isa": "avx2", "torch": "2.13.0"})
KEY = Ed25519PrivateKey.generate()


def sign(subject: Subject, key: Ed25519PrivateKey = KEY) -> Signature:
    public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Signature(public_key=public_key, value=key.sign(subject.signed_bytes))


def descriptor(data: bytes, media_type: str = PAYLOAD, name: str = "") -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data), name=name)


def artifact(
    descriptors: Iterable[Descriptor],
    graph: str = "graph",
    *,
    shape: Shape = (1, 16384),
    target: Target = TARGET,
    key: Ed25519PrivateKey = KEY,
    compile_seconds: float | None = 2.5,
    scheme_key: str | None = None,
    backend: str | None = None,
) -> Artifact:
    """An artifact of our scheme, or of vLLM's where a scheme key is given."""
    subject = Subject(
        scheme="inductory" if scheme_key is None else "vllm",
        graph_digest=digest_of(graph.encode()) if scheme_key is None else None,
        scheme_key=scheme_key,
        shape=shape,
        backend=backend or (BACKEND if scheme_key is None else "inductor_standalone"),
        target=target,
        descriptors=tuple(descriptors),
    )
    provenance = Provenance(
        builder="tests", created_at="2026-01-02T03:04:05Z", compile_seconds=compile_seconds
    )
    return Artifact(subject=subject, signature=sign(subject, key), provenance=provenance)


def manifest(artifacts: Sequence[Artifact], graph: str = "outer", **fields: object) -> Manifest:
    """A manifest whose entries are `artifacts`, in order, unless told."""
    fields.setdefault(
        "entries",
        tuple(
            ManifestEntry(
                shape=each.subject.shape,
                submodule_index=index,
                backend=each.subject.backend,
                artifact=each.key,
            )
            for index, each in enumerate(artifacts)
        ),
    )
    return Manifest(
        graph_digest=digest_of(graph.encode()),
        guards_digest=digest_of(b"guards"),
        submodules=57,
        **fields,  # type: ignore[arg-type]
    )


def build(manifests: Sequence[Manifest], namespace: str, model: str = "a model") -> Build:
    entries = tuple(BuildEntry(name=f"forward{at}", manifest=each.id) for at, each in enumerate(manifests))
    return Build(
        namespace=namespace,
        model=model,
        sources=digest_of(b"sources"),
        config=digest_of(model.encode()),
        target=TARGET,
        entries=entries,
    )


@dataclass
class Talk:
    """Speaks to a store in one namespace, in the contract's messages."""

    url: str
    namespace: str
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, params={"namespace": self.namespace}, timeout=60)

    def put_blob(self, data: bytes) -> httpx.Response:
        headers = {"Content-Encoding": "zstd", wire.SIZE_HEADER: str(len(data))}
        return self.http.put(f"/v1/blobs/{digest_of(data)}", content=pack(data), headers=headers)

    def get_blob(self, data: bytes) -> httpx.Response:
        """Ask for the blob as it is."""
        return self.http.get(f"/v1/blobs/{digest_of(data)}", headers={"Accept-Encoding": "identity"})

    def lacks(self, data: bytes) -> bool:
        """Whether a publisher is asked for these bytes."""
        wanted = wire.encode(wire.BlobsWanted(digests=(digest_of(data),)))
        return bool(self.http.post("/v1/blobs:missing", content=wanted).json()["missing"])

    def put_artifact(
        self, value: Artifact, key: str | None = None, lease: str | None = None
    ) -> httpx.Response:
        headers = {} if lease is None else {LEASE_HEADER: lease}
        path = f"/v1/artifacts/{key or value.key}"
        return self.http.put(path, content=wire.encode(value), headers=headers)

    def publish(self, data: bytes, graph: str = "graph", **fields: object) -> Artifact:
        """Upload bytes and publish them as the payload of an artifact."""
        value = artifact([descriptor(data)], graph, **fields)  # type: ignore[arg-type]
        assert self.put_blob(data).is_success
        assert self.put_artifact(value).is_success
        return value

    def publish_dispatch(self, data: bytes, entry: str = "entry") -> Artifact:
        """Upload bytes and publish them as a loadable dispatch."""
        value = artifact([descriptor(data, LOADABLE_DISPATCH)], entry, shape=None, backend=DISPATCH_BACKEND)
        assert self.put_blob(data).is_success
        assert self.put_artifact(value).is_success
        return value

    def put_manifest(self, value: Manifest, manifest_id: str | None = None) -> httpx.Response:
        return self.http.put(f"/v1/manifests/{manifest_id or value.id}", content=wire.encode(value))

    def put_build(self, value: Build, key: str | None = None) -> httpx.Response:
        return self.http.put(f"/v1/builds/{key or value.key}", content=wire.encode(value))

    def resolve(self, *keys: str, **fields: object) -> wire.Resolved:
        wanted = tuple(wire.ArtifactWanted(key=key) for key in keys)
        asked = wire.Resolve(artifacts=wanted, **fields)  # type: ignore[arg-type]
        answer = self.http.post("/v1/artifacts:resolve", content=wire.encode(asked))
        assert answer.status_code == 200, answer.text
        return wire.decode(answer.content, wire.Resolved)


def problem(answer: httpx.Response, status: int, code: str) -> wire.Problem:
    """Check that an answer is a Problem with this status and code, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = wire.decode(answer.content, wire.Problem)
    assert (found.status, found.code) == (status, code)
    return found
