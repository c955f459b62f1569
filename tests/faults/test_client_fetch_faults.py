"""What a fetch makes of bad artifacts and answers: pieces that aren't there, a reason, never an exception."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from client_samples import TARGET, client, draft, publication, signed, wanted
from inductory_client.cas import LocalCas
from inductory_client.client import Client
from inductory_client.contract.blob import pack
from inductory_client.contract.errors import (
    BadSignature,
    BreakerOpen,
    Corrupt,
    DeadlineExceeded,
    DigestMismatch,
    InductoryError,
    KeyMismatch,
    SizeMismatch,
    StoreUnavailable,
    UntrustedSigner,
)
from inductory_client.contract.statement import Signature
from inductory_client.contract.wire import Artifact, Miss, Resolved, encode
from inductory_client.trouble import forget_warnings
from inductory_client.trust import SigningKey
from misbehaving import Misbehaving, always, answer, dripping, refused, requests, silent

KEY = draft("a").subject.key
MakeClient = Callable[..., Client]


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[MakeClient]:
    made: list[Client] = []

    def make(url: str = "", **overrides: object) -> Client:
        made.append(client(tmp_path, url=url, drain_s=0.0, **overrides))
        return made[-1]

    yield make
    for each in made:
        each.close()


def good(where: Client, name: str = "a") -> Artifact:
    return signed(draft(name), where.signing_key())


def keep(cas: LocalCas, artifact: Artifact, name: str = "a") -> None:
    for descriptor, blob in zip(artifact.subject.descriptors, draft(name).blobs, strict=True):
        cas.put(descriptor.digest, blob.data)
    cas.put_artifact(artifact)


def inline(name: str = "a") -> dict[str, bytes]:
    return {blob.descriptor.digest: pack(blob.data) for blob in draft(name).blobs}


def with_signature(artifact: Artifact, signature: Signature) -> Artifact:
    return msgspec.structs.replace(artifact, signature=signature)


def with_size(artifact: Artifact, size: int, key: SigningKey) -> Artifact:
    """An artifact that lies about a size, properly signed all the same."""
    first, *rest = artifact.subject.descriptors
    descriptors = (msgspec.structs.replace(first, size=size), *rest)
    subject = msgspec.structs.replace(artifact.subject, descriptors=descriptors)
    return msgspec.structs.replace(artifact, subject=subject, signature=key.sign(subject.signed_bytes))


def bad_artifacts(here: Client) -> dict[str, tuple[Artifact, type[InductoryError]]]:
    key = here.signing_key()
    artifact = good(here)
    foreign = SigningKey.generate()
    zeros = Signature(public_key=key.public_key, value=bytes(64))
    claimed = Signature(public_key=key.public_key, value=signed(draft("a"), foreign).signature.value)
    return {
        "unsigned": (with_signature(artifact, zeros), BadSignature),
        "foreign": (signed(draft("a"), foreign), UntrustedSigner),
        "foreign, in our name": (with_signature(artifact, claimed), BadSignature),
        "another's statement": (with_signature(artifact, good(here, "b").signature), BadSignature),
        "shorter than it says": (with_size(artifact, 1 << 29, key), SizeMismatch),
        "longer than it says": (with_size(artifact, 3, key), SizeMismatch),
    }


BAD = ["unsigned", "foreign", "foreign, in our name", "another's statement", "shorter than it says"]
BAD += ["longer than it says"]


def test_a_good_answer_is_good(node: MakeClient) -> None:
    here = node()
    resolved = Resolved(hits=(good(here),), misses=(), blobs=inline())
    with Misbehaving(always(answer(encode(resolved)))) as server:
        fetched = node(server.url).fetch(wanted(draft("a")), TARGET)
        assert (fetched.error, fetched.refused) == (None, {})
        assert list(fetched.pieces) == [KEY]
        assert len(server.asked) == 1, "one round trip"


@pytest.mark.parametrize("name", BAD)
def test_a_bad_artifact_from_the_store_is_refused(node: MakeClient, name: str) -> None:
    here = node()
    artifact, error = bad_artifacts(here)[name]
    resolved = Resolved(hits=(artifact, good(here, "b")), misses=(), blobs=inline() | inline("b"))
    with Misbehaving(always(answer(encode(resolved)))) as server:
        there = node(server.url)
        fetched = there.fetch(wanted(draft("a"), draft("b")), TARGET)
        assert type(fetched.refused[KEY]) is error
        assert list(fetched.pieces) == [draft("b").subject.key], "the others aren't hurt by it"
        assert there.cas.artifact(KEY) is None


@pytest.mark.parametrize("name", BAD)
def test_the_local_disk_is_trusted_no_more_than_the_store(node: MakeClient, name: str) -> None:
    here = node()
    artifact, error = bad_artifacts(here)[name]
    keep(here.cas, artifact)
    fetched = here.fetch(wanted(draft("a")), TARGET)
    assert fetched.pieces == {}
    assert type(fetched.refused[KEY]) is error


def test_a_bad_local_artifact_is_mended_by_the_store(node: MakeClient) -> None:
    here = node()
    keep(here.cas, bad_artifacts(here)["unsigned"][0])
    resolved = Resolved(hits=(good(here),), misses=(), blobs=inline())
    with Misbehaving(always(answer(encode(resolved)))) as server:
        fetched = node(server.url).fetch(wanted(draft("a")), TARGET)
    assert (list(fetched.pieces), fetched.refused) == ([KEY], {})
    assert list(node().fetch(wanted(draft("a")), TARGET).pieces) == [KEY]


def test_a_local_record_under_another_key_is_refused(node: MakeClient) -> None:
    here = node()
    other = good(here, "b")
    keep(here.cas, other, "b")
    path = here.cas.root / "artifacts" / KEY[:2] / f"{KEY}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode(other))
    fetched = here.fetch(wanted(draft("a")), TARGET)
    assert type(fetched.refused[KEY]) is KeyMismatch
    assert not path.exists()


def test_a_damaged_local_blob_is_fetched_again(node: MakeClient) -> None:
    here = node()
    keep(here.cas, good(here))
    digest = good(here).subject.loaded[0].digest
    path = here.cas.root / "cas" / "sha256" / digest[:2] / digest
    path.write_bytes(bytes(path.stat().st_size))
    assert here.fetch(wanted(draft("a")), TARGET).pieces == {}
    resolved = Resolved(hits=(good(here),), misses=(), blobs=inline())
    with Misbehaving(always(answer(encode(resolved)))) as server:
        assert list(node(server.url).fetch(wanted(draft("a")), TARGET).pieces) == [KEY]
    assert list(node().fetch(wanted(draft("a")), TARGET).pieces) == [KEY]


@pytest.mark.parametrize(
    ("packed", "error"),
    [
        (b"", Corrupt),
        (b"not zstd", Corrupt),
        (pack(draft("a").blobs[0].data)[:-3], Corrupt),
        (pack(bytes(1 << 28)), SizeMismatch),
        (pack(b"x" * len(draft("a").blobs[0].data)), DigestMismatch),
        (pack(b""), SizeMismatch),
    ],
    ids=["empty", "garbage", "cut", "bomb", "swapped", "nothing"],
)
def test_a_bad_blob_in_the_answer_is_refused(
    node: MakeClient, packed: bytes, error: type[InductoryError]
) -> None:
    here = node()
    digest = good(here).subject.loaded[0].digest
    resolved = Resolved(hits=(good(here),), misses=(), blobs={**inline(), digest: packed})
    with Misbehaving(always(answer(encode(resolved)))) as server:
        there = node(server.url)
        fetched = there.fetch(wanted(draft("a")), TARGET)
        assert type(fetched.refused[KEY]) is error
        assert there.cas.get(digest) is None


def test_blobs_nobody_asked_for_are_ignored(node: MakeClient) -> None:
    here = node()
    resolved = Resolved(
        hits=(good(here),), misses=(), blobs=inline() | {"../../etc/x": b"y", "ab" * 32: b"z"}
    )
    with Misbehaving(always(answer(encode(resolved)))) as server:
        there = node(server.url)
        assert list(there.fetch(wanted(draft("a")), TARGET).pieces) == [KEY]
        assert there.cas.scan().blobs == 2


@pytest.mark.parametrize("answered", ["nothing", "another artifact", "another miss"])
def test_an_answer_to_another_question_is_no_answer(node: MakeClient, answered: str) -> None:
    here = node()
    resolved = {
        "nothing": Resolved(hits=(), misses=()),
        "another artifact": Resolved(hits=(good(here, "b"),), misses=(), blobs=inline("b")),
        "another miss": Resolved(hits=(), misses=(Miss(key="ab" * 32),)),
    }[answered]
    with Misbehaving(always(answer(encode(resolved)))) as server:
        fetched = node(server.url).fetch(wanted(draft("a")), TARGET)
        assert isinstance(fetched.error, StoreUnavailable)
        assert (fetched.pieces, fetched.misses, fetched.refused) == ({}, (), {})


@pytest.mark.parametrize(
    "handler",
    [
        silent,
        dripping(b"x", answer(b"", length=1 << 20)),
        always(b"\0\1\2 garbage \r\n\r\n", hang_up=True),
        always(answer(b"oops", b"500 Internal Server Error")),
        always(answer(b'{"hits":[],"misses":[]}', length=1000), hang_up=True),
        always(b"", hang_up=True),
    ],
    ids=["silent", "dripping", "garbage", "500", "truncated", "hangs up"],
)
def test_a_start_goes_on_without_a_store_that_fails(
    node: MakeClient, handler: object, caplog: pytest.LogCaptureFixture
) -> None:
    """One budget for the whole start: once it is spent, or the breaker is open, nobody is asked any more."""
    here = node()
    keep(here.cas, good(here, "b"), "b")
    with Misbehaving(handler) as server, caplog.at_level(logging.WARNING, "inductory"):  # type: ignore[arg-type]
        there = node(server.url, store_deadline_s=0.2)
        first = there.fetch(wanted(draft("a"), draft("b")), TARGET)
        assert list(first.pieces) == [draft("b").subject.key], "what is here is used"
        assert isinstance(first.error, (StoreUnavailable, DeadlineExceeded))
        for _ in range(3):
            there.fetch(wanted(draft("a")), TARGET)
        asked = len(server.asked)
        last = there.fetch(wanted(draft("a")), TARGET)
        assert isinstance(last.error, (BreakerOpen, DeadlineExceeded))
        assert len(server.asked) == asked
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == len(set(texts)) <= 3, "each kind of trouble is said once"


def test_a_small_question_finds_out_a_store_that_hangs(node: MakeClient) -> None:
    with Misbehaving(silent) as server:
        there = node(server.url, store_deadline_s=2.0)
        small = there.fetch(wanted(draft("a")), TARGET, share=0.1)
        assert isinstance(small.error, DeadlineExceeded)
        assert there.budget.remaining() > 1, "most of what may be waited is left, and nothing more is"
        assert isinstance(there.fetch(wanted(draft("b")), TARGET).error, BreakerOpen)
        assert len(server.asked) <= 1


def test_a_refused_connection_is_no_trouble_of_the_start(node: MakeClient) -> None:
    with refused() as url:
        fetched = node(url).fetch(wanted(draft("a")), TARGET)
    assert isinstance(fetched.error, StoreUnavailable)


def test_a_bug_of_ours_is_no_trouble_of_the_start(node: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    here = node()

    def broken(key: str) -> Artifact:
        raise RuntimeError("a bug")

    monkeypatch.setattr(here.cas, "artifact", broken)
    fetched = here.fetch(wanted(draft("a")), TARGET)
    assert fetched.pieces == {}
    assert "a bug" in str(fetched.error)


def test_a_blob_that_the_store_lost_costs_its_piece_only(node: MakeClient) -> None:
    here = node()
    resolved = Resolved(hits=(good(here), good(here, "b")), misses=(), blobs=inline("b"))
    problem = {"type": "about:blank", "title": "x", "status": 404, "code": "not_found", "detail": "gone"}
    lost = answer(msgspec.json.encode({**problem, "retryable": False}), b"404 Not Found")

    def handler(sock: object, server: Misbehaving) -> None:
        for request in requests(sock, server):  # type: ignore[arg-type]
            sock.sendall(answer(encode(resolved)) if request.startswith(b"POST") else lost)  # type: ignore[attr-defined]

    with Misbehaving(handler) as server:
        fetched = node(server.url).fetch(wanted(draft("a"), draft("b")), TARGET)
    assert list(fetched.pieces) == [draft("b").subject.key]
    assert fetched.refused[KEY].code == "not_found"


def test_publishing_to_a_store_that_fails_is_warned_about_once(
    node: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    forbidden = {
        "type": "about:blank",
        "title": "x",
        "status": 403,
        "code": "untrusted_signer",
        "detail": "no",
    }
    body = msgspec.json.encode({**forbidden, "retryable": False})
    with (
        Misbehaving(always(answer(body, b"403 Forbidden"))) as server,
        caplog.at_level(logging.WARNING, "inductory"),
    ):
        there = node(server.url)
        for name in ("a", "b", "c"):
            there.publisher.submit(publication(name))
        assert there.publisher.drain(60)
    assert len([record for record in caplog.records if "published" in record.getMessage()]) == 1
    assert list(there.fetch(wanted(draft("a")), TARGET).pieces) == [KEY]


def test_a_miss_that_is_told_twice_counts_once(node: MakeClient) -> None:
    resolved = encode(Resolved(hits=(), misses=(Miss(key=KEY), Miss(key=KEY))))
    with Misbehaving(always(answer(resolved))) as server:
        fetched = node(server.url).fetch(wanted(draft("a")), TARGET)
    assert [miss.key for miss in fetched.misses] == [KEY]
