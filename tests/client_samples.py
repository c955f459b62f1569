"""Small true drafts, publications and clients, for the client's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inductory_client.client import Client
from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.descriptor import LOADABLE_DISPATCH, NATIVE, PAYLOAD, PYTHON
from inductory_client.contract.digest import digest_of
from inductory_client.contract.key import DISPATCH_BACKEND
from inductory_client.contract.manifest import BLUEPRINT, ManifestEntry
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.target import Target
from inductory_client.contract.wire import Artifact, ArtifactWanted
from inductory_client.publication import Draft, DraftBlob, ManifestDraft, Publication
from inductory_client.settings import Settings
from inductory_client.trust import SigningKey
from msgspec.structs import replace

TARGET = Target({"torch.version": "2.13.0", "cpu.isa": "avx2"})


class FakeClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def settings(folder: Path, **overrides: Any) -> Settings:
    """Settings of a machine whose files all lie in `folder`."""
    places = {"cache_dir": folder / "cache", "config_dir": folder / "config"}
    return Settings.load({}, **{**places, **overrides})


def client(folder: Path, **overrides: Any) -> Client:
    return Client(settings(folder, **overrides))


def draft(name: str = "a", payload: bytes | None = None, **changes: Any) -> Draft:
    """A draft whose key is decided by `name`."""
    blobs = (
        DraftBlob(PAYLOAD, "", f"payload of {name} ".encode() * 200 if payload is None else payload),
        DraftBlob(NATIVE, "cabc.so", b"\x7fELF" + name.encode() * 100),
        DraftBlob(PYTHON, "output_code.py", f"def call_{name}(): ...".encode()),
    )
    fields: dict[str, Any] = {
        "blobs": blobs,
        "shape": (1, 16384),
        "graph_digest": digest_of(name.encode()),
        "target": TARGET,
        "provenance": Provenance(builder="test", created_at="2026-01-01T00:00:00Z", compile_seconds=1.5),
    }
    return Draft(**fields | changes)


def publication(*names: str, model: str = "a small model", namespace: str = "default") -> Publication:
    """A graph of one piece a name, and a build of that one graph."""
    drafts = tuple(draft(name) for name in names)
    entries = tuple(
        ManifestEntry(shape=d.shape, submodule_index=i, backend=d.backend, artifact=d.subject.key)
        for i, d in enumerate(drafts)
    )
    manifest = ManifestDraft(
        graph_digest=digest_of("-".join(names).encode()),
        guards_digest=digest_of(b"guards"),
        submodules=len(drafts),
        entries=entries,
        documents=(DraftBlob(PYTHON, BLUEPRINT, f"class GraphModule: # {names}".encode()),),
    )
    build = Build(
        namespace=namespace,
        model=model,
        sources=digest_of(b"modeling.py"),
        config=digest_of(model.encode()),
        target=TARGET,
        entries=(BuildEntry(name="forward", manifest=manifest.manifest.id),),
    )
    return Publication(artifacts=drafts, manifest=manifest, build=build)


def dispatched(plain: Publication, data: bytes = b"a loadable dispatch") -> Publication:
    """The same with a dispatch, which its build names; its key is decided by the build's sources."""
    assert plain.build is not None
    dispatch = draft(
        blobs=(DraftBlob(LOADABLE_DISPATCH, "", data),),
        backend=DISPATCH_BACKEND,
        shape=None,
        graph_digest=plain.build.sources,
    )
    entries = tuple(replace(entry, dispatch=dispatch.subject.key) for entry in plain.build.entries)
    artifacts, build = (*plain.artifacts, dispatch), replace(plain.build, entries=entries)
    return Publication(artifacts=artifacts, manifest=plain.manifest, build=build)


def wanted(*drafts: Draft) -> list[ArtifactWanted]:
    return [ArtifactWanted(key=d.subject.key, graph_digest=d.graph_digest) for d in drafts]


def signed(d: Draft, key: SigningKey) -> Artifact:
    subject = d.subject
    return Artifact(subject=subject, signature=key.sign(subject.signed_bytes), provenance=d.provenance)
