"""Signed statements: what a signature covers, and what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from contract_samples import KEY, OTHER_KEY, artifact, changed, describe, foreign_subject, sign, subject
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.contract.artifact import ARTIFACT_STATEMENT, Artifact, Subject
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import BadSignature
from inductory_client.contract.statement import Signature, signed_bytes, verify_signature
from inductory_client.contract.target import Target
from inductory_client.contract.wire import decode, encode


def check(artifact: Artifact) -> None:
    verify_signature(artifact.signature, artifact.subject.signed_bytes)


def test_a_true_signature_passes_and_survives_the_wire() -> None:
    check(artifact())
    check(decode(encode(artifact()), Artifact))
    check(artifact(foreign_subject()))


def test_ed25519_is_the_one_of_rfc_8032() -> None:
    """The first test vector of section 7.1: the empty message."""
    vector = Signature(
        public_key=bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
        value=bytes.fromhex(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    )
    verify_signature(vector, b"")
    with pytest.raises(BadSignature):
        verify_signature(vector, b"x")


def test_the_signed_bytes_are_dsse_pae() -> None:
    assert signed_bytes("application/x", {"a": "é"}) == b'DSSEv1 13 application/x 10 {"a":"\xc3\xa9"}'
    assert subject().signed_bytes.startswith(b"DSSEv1 42 " + ARTIFACT_STATEMENT.encode() + b" ")


def other_descriptor(subject: Subject, **changes: Any) -> dict[str, Any]:
    first, *rest = subject.descriptors
    return {"descriptors": (changed(first, **changes), *rest)}


TAMPERINGS: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "graph": lambda _: {"graph_digest": digest_of(b"another graph")},
    "shape": lambda _: {"shape": (1, 16385)},
    "backend": lambda _: {"backend": "eager"},
    "option": lambda _: {"options": {"max_autotune": "True"}},
    "option taken": lambda _: {"options": {}},
    "requirement": lambda _: {"requires": {"cuda.driver": "1"}},
    "target": lambda subject: {"target": Target(subject.target.factors | {"cpu.isa": "avx512"})},
    "guards": lambda _: {"guards": ("z0 % 8 == 0",)},
    "payload digest": lambda subject: other_descriptor(subject, digest=digest_of(b"evil")),
    "payload size": lambda subject: other_descriptor(subject, size=1),
    "media type": lambda subject: other_descriptor(subject, media_type="text/x-python"),
    "name": lambda subject: other_descriptor(subject, name="other"),
    "descriptor added": lambda subject: {"descriptors": (*subject.descriptors, describe(b"more"))},
    "descriptor taken": lambda subject: {"descriptors": subject.descriptors[:1]},
    "descriptors swapped": lambda subject: {"descriptors": subject.descriptors[::-1]},
    "scheme": lambda _: {"scheme": "vllm", "scheme_key": "abc", "graph_digest": None},
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_every_part_of_the_subject_is_signed(name: str) -> None:
    true = artifact()
    with pytest.raises(BadSignature):
        check(changed(true, subject=changed(true.subject, **TAMPERINGS[name](true.subject))))


def test_every_field_of_the_subject_is_tampered_with_above() -> None:
    touched = {field for tamper in TAMPERINGS.values() for field in tamper(subject())}
    assert touched == set(Subject.__struct_fields__)


def test_provenance_is_not_signed() -> None:
    true = artifact()
    check(changed(true, provenance=changed(true.provenance, builder="someone else")))


def test_another_signers_signature_under_this_name_fails() -> None:
    message = subject().signed_bytes
    ours, theirs = sign(message, KEY), sign(message, OTHER_KEY)
    with pytest.raises(BadSignature):
        verify_signature(Signature(public_key=ours.public_key, value=theirs.value), message)
    assert ours.signer == digest_of(ours.public_key) != theirs.signer


def test_a_statement_of_another_type_fails() -> None:
    """A signature over the same subject as, say, a dispatch isn't one over an artifact."""
    other = sign(signed_bytes("application/vnd.inductory.dispatch.v1+json", subject()))
    with pytest.raises(BadSignature):
        verify_signature(other, subject().signed_bytes)


@given(st.integers(0, 64 * 8 - 1))
def test_a_flipped_bit_fails(bit: int) -> None:
    message = subject().signed_bytes
    value = bytearray(sign(message).value)
    value[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignature):
        verify_signature(Signature(public_key=sign(message).public_key, value=bytes(value)), message)


@pytest.mark.parametrize("public_key", [bytes(32), b"\xff" * 32])
def test_a_public_key_that_is_none_fails(public_key: bytes) -> None:
    message = subject().signed_bytes
    with pytest.raises(BadSignature):
        verify_signature(Signature(public_key=public_key, value=sign(message).value), message)
