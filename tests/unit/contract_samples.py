"""Small true values of the contract, for its tests."""

from __future__ import annotations

from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from inductory_client.contract.artifact import Artifact, Subject
from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.descriptor import NATIVE, PAYLOAD, PYTHON, Descriptor
from inductory_client.contract.digest import digest_of
from inductory_client.contract.manifest import BLUEPRINT, Manifest, ManifestEntry
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.statement import Signature
from inductory_client.contract.target import Target

TARGET = Target({"torch.version": "2.13.0", "cpu.isa": "avx2"})
PAYLOAD_BYTES = b"the payload of a piece"
GRAPH_DIGEST = digest_of(b"a canonical graph")

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def describe(data: bytes, media_type: str = PAYLOAD, name: str = "") -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data), name=name)


def subject(**changes: Any) -> Subject:
    fields: dict[str, Any] = {
        "graph_digest": GRAPH_DIGEST,
        "shape": (1, 16384),
        "backend": "inductor",
        "options": {"max_autotune": "False"},
        "target": TARGET,
        "descriptors": (
            describe(PAYLOAD_BYTES),
            describe(b"\x7fELF", NATIVE, "cabc.so"),
            describe(b"def call(): ...", PYTHON, "output_code.py"),
        ),
    }
    return Subject(**fields | changes)


def foreign_subject(**changes: Any) -> Subject:
    return subject(**{"scheme": "vllm", "scheme_key": "abc123", "graph_digest": None} | changes)


def sign(message: bytes, key: Ed25519PrivateKey = KEY) -> Signature:
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Signature(public_key=public, value=key.sign(message))


def artifact(signed: Subject | None = None, key: Ed25519PrivateKey = KEY) -> Artifact:
    signed = subject() if signed is None else signed
    return Artifact(
        subject=signed,
        signature=sign(signed.signed_bytes, key),
        provenance=Provenance(builder="test", created_at="2026-01-01T00:00:00Z", compile_seconds=1.5),
    )


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "graph_digest": digest_of(b"an outer graph"),
        "guards_digest": digest_of(b"its guards"),
        "submodules": 3,
        "entries": (
            ManifestEntry(shape=(1, 16384), submodule_index=0, backend="inductor", artifact=subject().key),
            ManifestEntry(shape=(1, 16384), submodule_index=2, backend="inductor", artifact=subject().key),
        ),
        "documents": (describe(b"class GraphModule: ...", PYTHON, BLUEPRINT),),
    }
    return Manifest(**fields | changes)


def build(**changes: Any) -> Build:
    fields: dict[str, Any] = {
        "model": "a small model",
        "sources": digest_of(b"modeling.py"),
        "config": digest_of(b"config.json"),
        "target": TARGET,
        "entries": (BuildEntry(name="forward", manifest=manifest().id),),
    }
    return Build(**fields | changes)


def changed(value: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(value, **changes)
