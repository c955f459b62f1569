"""Artifacts in the local cache that are damaged, foreign or made for something else: compiled, and right."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from inductory_client.contract.descriptor import NATIVE, PAYLOAD
from inductory_client.contract.digest import checksum_of, digest_of
from inductory_client.contract.errors import DigestMismatch, LoadFailed, TargetMismatch
from inductory_client.contract.statement import Signature
from inductory_client.contract.target import Target
from inductory_client.contract.wire import Artifact, encode
from inductory_client.graph import torch_private
from inductory_client.graph.load import load_piece
from inductory_client.publication import Draft, DraftBlob
from inductory_client.trust import SigningKey
from torch_sessions import Compiled, Node, compile_case, three_pieces


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return compile_case(three_pieces())


@pytest.fixture(scope="module")
def kept(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> tuple[Node, tuple[Artifact, ...]]:
    """A machine that has all three artifacts; tests take copies of it."""
    node = Node(tmp_path_factory.mktemp("kept"))
    return node, node.keep(*compiled.drafts)


@pytest.fixture
def node(kept: tuple[Node, tuple[Artifact, ...]], tmp_path: Path) -> Node:
    shutil.copytree(kept[0].folder, tmp_path / "node", copy_function=shutil.copy2)
    return Node(tmp_path / "node")


@pytest.fixture
def artifacts(kept: tuple[Node, tuple[Artifact, ...]]) -> tuple[Artifact, ...]:
    return kept[1]


class Evil:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.fixture
def evil(mark: Path) -> bytes:
    return pickle.dumps(Evil(mark))


def payload_of(artifact: Artifact) -> str:
    return next(d.digest for d in artifact.subject.loaded if d.media_type == PAYLOAD)


def native_of(artifact: Artifact) -> str:
    return next(d.digest for d in artifact.subject.loaded if d.media_type == NATIVE)


def with_blobs(draft: Draft, change: Callable[[DraftBlob], DraftBlob | None]) -> Draft:
    """A draft whose blobs are changed, to be properly signed all the same."""
    changed = (change(blob) for blob in draft.blobs)
    return msgspec.structs.replace(draft, blobs=tuple(blob for blob in changed if blob is not None))


def test_whole_artifacts_are_loaded(node: Node) -> None:
    report, warnings = node.start(three_pieces())
    assert (report.outcome, report.hits, report.compiled, warnings) == ("loaded", 3, 0, [])


def at_rest(data: bytes) -> bytes:
    """Bytes as the local CAS keeps them: with a checksum behind them, which a forger gets right."""
    return data + checksum_of(data)


Damage = Callable[[bytes, bytes], bytes]
DAMAGE: dict[str, Damage] = {
    "truncated": lambda data, other: data[: len(data) // 2],
    "empty": lambda data, other: b"",
    "bit-flipped": lambda data, other: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
    "bit-flipped, checksum mended": lambda data, other: at_rest(
        data[:1000] + bytes([data[1000] ^ 1]) + data[1001:-16]
    ),
    "swapped": lambda data, other: other,
}


@pytest.mark.parametrize("which", [payload_of, native_of])
@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_bytes_are_compiled_anew(
    node: Node, artifacts: tuple[Artifact, ...], name: str, which: Callable[[Artifact], str]
) -> None:
    """Only the piece that is damaged: the others were whole and are loaded."""
    path, other = node.blob_path(which(artifacts[1])), node.blob_path(which(artifacts[0]))
    path.write_bytes(DAMAGE[name](path.read_bytes(), other.read_bytes()))
    report, warnings = node.start(three_pieces())
    assert (report.outcome, report.hits, report.compiled) == ("compiled", 2, 1)
    assert len(warnings) == 1
    assert "damaged" in warnings[0]
    again, _ = node.start(three_pieces())
    assert again.outcome == "loaded", "what was compiled took the damaged one's place"


def test_a_planted_pickle_is_never_unpickled(
    node: Node, artifacts: tuple[Artifact, ...], compiled: Compiled, evil: bytes, mark: Path
) -> None:
    """In the payload's place; in a record under the old signature; under a stranger's signature."""
    torch_private.unpickle_entry(evil)
    assert mark.exists(), "the pickle would leave its mark"
    mark.rmdir()
    node.blob_path(payload_of(artifacts[0])).write_bytes(at_rest(evil))

    def replaced(draft: Draft) -> Draft:
        return with_blobs(draft, lambda b: DraftBlob(PAYLOAD, "", evil) if b.media_type == PAYLOAD else b)

    second, third = (replaced(draft) for draft in compiled.drafts[1:])
    path = node.blob_path(digest_of(evil))
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(at_rest(evil))
    old = msgspec.structs.replace(artifacts[1], subject=second.subject)
    stranger = SigningKey.generate()
    foreign = msgspec.structs.replace(
        artifacts[2], subject=third.subject, signature=stranger.sign(third.subject.signed_bytes)
    )
    for artifact in (old, foreign):
        node.record_path(artifact.key).write_bytes(encode(artifact))
    report, warnings = node.start(three_pieces())
    assert (report.outcome, report.hits, report.compiled) == ("compiled", 0, 3)
    assert not mark.exists()
    assert any("isn't trusted" in warning for warning in warnings)
    assert any("signature" in warning for warning in warnings)


def resigned(node: Node, artifact: Artifact, **changes: Any) -> Artifact:
    with node.client() as client:
        key = client.signing_key()
    subject = msgspec.structs.replace(artifact.subject, **changes)
    return msgspec.structs.replace(artifact, subject=subject, signature=key.sign(subject.signed_bytes))


STATEMENTS: dict[str, Callable[[tuple[Artifact, ...]], Signature]] = {
    "unsigned": lambda a: Signature(public_key=a[0].signature.public_key, value=bytes(64)),
    "foreign": lambda a: SigningKey.generate().sign(a[0].subject.signed_bytes),
    "re-used": lambda a: a[1].signature,
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_that_does_not_vouch_is_refused(
    node: Node, artifacts: tuple[Artifact, ...], name: str
) -> None:
    bad = msgspec.structs.replace(artifacts[0], signature=STATEMENTS[name](artifacts))
    node.record_path(bad.key).write_bytes(encode(bad))
    report, warnings = node.start(three_pieces())
    assert (report.outcome, report.hits, report.compiled) == ("compiled", 2, 1)
    assert len(warnings) == 1


FACTORS = {
    "cpu.capability": "ZVECTOR",
    "torch.version": "2.11.0",
    "cpu.threads": "96",
    "torch.key": "0" * 64,
    "cpu.features": "avx512f",
}


@pytest.mark.parametrize("factor", FACTORS)
def test_code_for_another_target_is_refused_and_the_factor_named(
    node: Node, artifacts: tuple[Artifact, ...], compiled: Compiled, factor: str
) -> None:
    """The key differs; and where a record lies under the wrong key, the loader refuses it too."""
    target = compiled.graph.target
    other = Target({**target.factors, factor: FACTORS[factor]})
    foreign = resigned(node, artifacts[0], target=other)
    assert foreign.key != artifacts[0].key
    blobs = {blob.descriptor.digest: blob.data for blob in compiled.drafts[0].blobs}
    with pytest.raises(TargetMismatch, match=f"{factor}: .* here, {FACTORS[factor]} there"):
        load_piece(foreign.subject, blobs, target)
    node.record_path(artifacts[0].key).write_bytes(encode(foreign))
    report, warnings = node.start(three_pieces())
    assert (report.outcome, report.hits, report.compiled) == ("compiled", 2, 1)
    assert len(warnings) == 1


def test_the_loader_checks_the_bytes_itself(compiled: Compiled, evil: bytes, mark: Path) -> None:
    subject = compiled.drafts[0].subject
    blobs = {blob.descriptor.digest: blob.data for blob in compiled.drafts[0].blobs}
    for descriptor in subject.loaded:
        with pytest.raises(DigestMismatch):
            load_piece(subject, {**blobs, descriptor.digest: evil}, compiled.graph.target)
        without = {digest: data for digest, data in blobs.items() if digest != descriptor.digest}
        with pytest.raises(DigestMismatch):
            load_piece(subject, without, compiled.graph.target)
    assert not mark.exists()


UNLOADABLE: dict[str, Callable[[DraftBlob], DraftBlob | None]] = {
    "no native file": lambda b: None if b.media_type == NATIVE else b,
    "no payload": lambda b: None if b.media_type == PAYLOAD else b,
    "a native file that isn't one": lambda b: (
        DraftBlob(NATIVE, b.name, b"not a library") if b.media_type == NATIVE else b
    ),
    "a native file of another source": lambda b: (
        DraftBlob(NATIVE, "0" * 64, b.data) if b.media_type == NATIVE else b
    ),
    "a payload that isn't one": lambda b: DraftBlob(PAYLOAD, "", b"junk") if b.media_type == PAYLOAD else b,
    "a payload of something else": lambda b: (
        DraftBlob(PAYLOAD, "", pickle.dumps({"a": 1})) if b.media_type == PAYLOAD else b
    ),
}


@pytest.mark.parametrize("name", UNLOADABLE)
def test_one_piece_that_cannot_be_loaded_drops_all(node: Node, compiled: Compiled, name: str) -> None:
    """Signed by a trusted key, and still no use: the whole graph is compiled, with one warning."""
    bad = with_blobs(compiled.drafts[1], UNLOADABLE[name])
    blobs = {blob.descriptor.digest: blob.data for blob in bad.blobs}
    with pytest.raises(LoadFailed):
        load_piece(bad.subject, blobs, compiled.graph.target)
    node.keep(bad)
    report, warnings = node.start(three_pieces())
    assert (report.outcome, report.hits, report.compiled) == ("compiled", 3, 3)
    assert len(warnings) == 1
    assert "a graph is compiled, though it was found" in warnings[0]


def test_guards_of_an_artifact_are_signed_and_checked(
    node: Node, artifacts: tuple[Artifact, ...], compiled: Compiled
) -> None:
    for guard in ('["StrictGreaterThan","z0",4096]', '["os.system","z0"]'):
        node.keep(msgspec.structs.replace(compiled.drafts[1], guards=(guard,)))
        report, warnings = node.start(three_pieces())
        assert (report.outcome, report.hits, report.compiled) == ("compiled", 3, 3)
        assert warnings == [
            "a graph is compiled, though it was found: the artifact was compiled for other sizes than these"
        ]
    unsigned = msgspec.structs.replace(
        artifacts[1], subject=msgspec.structs.replace(artifacts[1].subject, guards=("[]",))
    )
    node.record_path(unsigned.key).write_bytes(encode(unsigned))
    report, warnings = node.start(three_pieces())
    assert (report.outcome, report.hits, report.compiled) == ("compiled", 2, 1)
