"""Notes of misses: what is written, what is read back, and what stays within bounds."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from client_samples import TARGET
from hypothesis import given
from hypothesis import strategies as st
from inductory_client import misses
from inductory_client.cas import LocalCas
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import StoreUnavailable, UntrustedSigner
from inductory_client.contract.target import FactorDifference, Target
from inductory_client.contract.wire import ArtifactWanted, Miss, Nearest
from inductory_client.fetch import Fetched
from inductory_client.misses import NO_STORE, KeyParts, Missed, Misses, missed_of
from inductory_client.trouble import forget_warnings

NEAREST = Nearest(key=digest_of(b"near"), differences=(FactorDifference("cpu.threads", "4", "8"),))


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


@pytest.fixture
def cas(tmp_path: Path) -> LocalCas:
    return LocalCas(tmp_path / "cache", 1 << 30)


def missed(name: str = "a", at: float = 1.0, **fields: object) -> Missed:
    return Missed(key=digest_of(name.encode()), at=at, namespace="default", **fields)  # type: ignore[arg-type]


def path_of(cas: LocalCas, target: Target = TARGET) -> Path:
    return cas.root / "misses" / target.fingerprint[:2] / f"{target.fingerprint}.jsonl"


def test_what_is_noted_is_read(cas: LocalCas) -> None:
    parts = KeyParts(
        scheme="vllm", scheme_key="abc", shape=(1, None), backend="inductor_standalone", options={"a": "b"}
    )
    first = missed("a", 1.0, parts=parts, model="m", graph_digest=digest_of(b"g"), nearest=NEAREST)
    second = missed("b", 2.0, reason="store_unavailable", detail="it is away")
    Misses(cas).note(TARGET, [first])
    Misses(LocalCas(cas.root, 1 << 30)).note(TARGET, [second])  # another process
    notes = Misses(cas).read()
    assert [(each.missed, each.target) for each in notes.noted] == [(first, TARGET), (second, TARGET)]
    assert notes.damaged == 0
    assert path_of(cas).read_text().count("torch.version") == 1, "a target is written once"
    assert stat.S_IMODE(path_of(cas).stat().st_mode) == 0o600


def test_the_last_note_of_a_key_counts(cas: LocalCas) -> None:
    other = Target({"cpu.threads": "4"})
    Misses(cas).note(TARGET, [missed(at=2.0, model="new")])
    Misses(cas).note(other, [missed(at=1.0, model="old"), missed("b")])
    notes = Misses(cas).read()
    assert [each.missed.model for each in notes.noted if each.missed.key == digest_of(b"a")] == ["new"]
    assert cas.usage().used_bytes == sum(path_of(cas, each).stat().st_size for each in (TARGET, other))


def test_without_a_miss_nothing_is_written(cas: LocalCas) -> None:
    Misses(cas).note(TARGET, [])
    assert Misses(cas).read().noted == ()
    assert not cas.root.exists()


def test_a_cache_without_room_has_no_notes(tmp_path: Path) -> None:
    cas = LocalCas(tmp_path / "cache", 0)
    Misses(cas).note(TARGET, [missed()])
    assert not cas.root.exists()


def test_a_file_keeps_its_newer_half(cas: LocalCas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misses, "FILE_BYTES_MAX", 10_000)
    notes = Misses(cas)
    for at in range(200):
        notes.note(TARGET, [missed(str(at), float(at), detail="x" * 100, reason="r")])
        assert path_of(cas).stat().st_size <= 10_500
    found = notes.read()
    assert found.damaged == 0
    kept = [int(each.missed.at) for each in found.noted]
    assert kept == list(range(200 - len(kept), 200))
    assert len(kept) > 15


def test_the_targets_of_old_are_forgotten(cas: LocalCas) -> None:
    notes = Misses(cas)
    targets = [Target({"cpu.threads": str(at)}) for at in range(misses.TARGETS_MAX + 3)]
    for at, target in enumerate(targets):
        notes.note(target, [missed(str(at), float(at))])
        os.utime(path_of(cas, target), (at, at))
    assert [each.target for each in notes.read().noted] == targets[3:]


def test_one_fetch_has_a_bound_and_so_has_a_line(cas: LocalCas) -> None:
    Misses(cas).note(TARGET, [missed(str(at)) for at in range(misses.NOTED_MAX + 10)])
    assert len(Misses(cas).read().noted) == misses.NOTED_MAX
    other = Target({})
    long = missed("long", parts=KeyParts(options={"a": "x" * misses.LINE_BYTES_MAX}))
    longer = missed("longer", nearest=Nearest(key=digest_of(b""), differences=(
        FactorDifference("x" * misses.LINE_BYTES_MAX, None, None),)))  # fmt: skip
    Misses(cas).note(other, [long, longer])
    (found,) = [each.missed for each in Misses(cas).read().noted if each.target == other]
    assert (found.key, found.parts) == (long.key, None)


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"missed":{"key":"short","at":1,"namespace":"default"}}',
        b'{"missed":{"key":"%s","at":1e300,"namespace":"default"}}' % (b"ab" * 32),
        b'{"missed":{"key":"%s","at":1,"namespace":"default","parts":{"shape":[9,1]}}}' % (b"ab" * 32),
        b'{"target":{"factors":{"another":"target"}}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_costs_itself_alone(cas: LocalCas, line: bytes) -> None:
    Misses(cas).note(TARGET, [missed("a")])
    with path_of(cas).open("ab") as file:
        file.write(b"\n" + line)
    Misses(cas).note(TARGET, [missed("b", 2.0)])
    notes = Misses(cas).read()
    assert [each.missed.key for each in notes.noted] == [digest_of(b"a"), digest_of(b"b")]
    assert notes.damaged == 1


def test_a_file_without_its_target_is_damaged(cas: LocalCas) -> None:
    Misses(cas).note(TARGET, [missed("a")])
    path = path_of(cas)
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    notes = Misses(cas).read()
    assert (notes.noted, notes.damaged) == ((), 1)


def test_a_later_version_may_write_more(cas: LocalCas) -> None:
    Misses(cas).note(TARGET, [missed("a")])
    path = path_of(cas)
    head, line = path.read_bytes().split(b"\n")
    more = json.loads(line)
    more["missed"]["colour"] = "blue"
    path.write_bytes(head + b"\n" + json.dumps(more).encode())
    assert len(Misses(cas).read().noted) == 1


@given(st.binary(max_size=300), st.data())
def test_whatever_lies_there_reading_goes_on(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, choose: st.DataObject
) -> None:
    cas = LocalCas(tmp_path_factory.mktemp("notes") / "cache", 1 << 30)
    Misses(cas).note(TARGET, [missed("a"), missed("b")])
    path = path_of(cas)
    data = path.read_bytes()
    begin = choose.draw(st.integers(0, len(data)))
    end = choose.draw(st.integers(begin, len(data)))
    path.write_bytes(data[:begin] + junk + data[end:])
    Misses(cas).read()
    Misses(cas).note(TARGET, [missed("c")])


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_neither_written_nor_followed(cas: LocalCas, tmp_path: Path, kind: str) -> None:
    Misses(cas).note(TARGET, [missed("a")])
    path, elsewhere = path_of(cas), tmp_path / "elsewhere"
    path.unlink()
    if kind == "link":
        path.symlink_to(elsewhere)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    Misses(cas).note(TARGET, [missed("a")])
    assert Misses(cas).read().noted == ()
    assert not elsewhere.exists()


def test_why_each_was_not_got() -> None:
    keys = {name: digest_of(name.encode()) for name in ("got", "missed", "refused", "unasked")}
    fetched = Fetched(
        pieces={keys["got"]: None},  # type: ignore[dict-item]
        misses=(Miss(key=keys["missed"], nearest=NEAREST),),
        refused={keys["refused"]: UntrustedSigner("who is that")},
        seconds=0.0,
        verify_seconds=0.0,
        bytes_moved=0,
        error=StoreUnavailable("it is away"),
    )
    wanted = [ArtifactWanted(key=key, graph_digest=digest_of(b"g")) for key in keys.values()]
    described: list[str] = []

    def describe(key: str) -> KeyParts:
        described.append(key)
        return KeyParts(shape=8)

    where = {"at": 1.0, "namespace": "default", "model": "m"}
    found = list(missed_of(wanted, fetched, describe, store=True, **where))  # type: ignore[arg-type]
    assert {each.key: (each.reason, each.detail) for each in found} == {
        keys["missed"]: ("", ""),
        keys["refused"]: ("untrusted_signer", "who is that"),
        keys["unasked"]: ("store_unavailable", "it is away"),
    }
    assert described == [each.key for each in found], "what was got needs no description"
    assert [each.nearest for each in found] == [NEAREST, None, None]
    unasked = Fetched(pieces={}, misses=fetched.misses, seconds=0.0, verify_seconds=0.0, bytes_moved=0)
    (alone,) = missed_of(wanted[1:2], unasked, None, store=False, **where)  # type: ignore[arg-type]
    assert alone.reason == NO_STORE
