"""What every place for blobs must do, whichever it is."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from blob_stores import Local, OverHttp, Subject
from inductory_client.contract.blob import pack, unpack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import (
    Corrupt,
    DigestMismatch,
    InductoryError,
    NotFound,
    SizeMismatch,
    TooLarge,
)
from inductory_store.blobs.disk import DiskBlobs
from inductory_store.blobs.memory import MemoryBlobs
from inductory_store.blobs.s3 import S3Blobs
from inductory_store.blobs.store import BlobStore
from inductory_store.blobs.unpacking import packed_from

_URLS = {"http": "store_url", "http on s3": "s3_store_url", "http, pulled through": "near_store_url"}


@pytest.fixture(params=["memory", "disk", "s3", "http", "http on s3", "http, pulled through"])
def blobs(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param.startswith("http"):
        over_http = OverHttp(request.getfixturevalue(_URLS[request.param]))
        yield over_http
        over_http.close()
    else:
        with opened(request) as place:
            yield Local(place)


@pytest.fixture(params=["memory", "disk", "s3"])
def place(request: pytest.FixtureRequest) -> Iterator[BlobStore]:
    with opened(request) as place:
        yield place


@contextmanager
def opened(request: pytest.FixtureRequest) -> Iterator[BlobStore]:
    """The place for blobs that a fixture's parameter names, with nothing in it."""
    if request.param == "memory":
        yield MemoryBlobs()
    elif request.param == "disk":
        yield DiskBlobs(request.getfixturevalue("tmp_path"))
    else:
        bucket = request.getfixturevalue("bucket").settings().bucket
        with closing(S3Blobs(bucket)) as blobs:
            yield blobs


@pytest.fixture
def data(request: pytest.FixtureRequest) -> bytes:
    """Bytes that no other test has: some that shrink, and some that don't."""
    return random.Random(request.node.nodeid).randbytes(40_000) + bytes(60_000)


def chunks(packed: bytes, size: int = 7_000) -> Iterator[bytes]:
    for start in range(0, len(packed), size):
        yield packed[start : start + size]


def read(blobs: Subject, digest: str) -> bytes:
    with blobs.open(digest) as file:
        return file.read()


def test_round_trip(blobs: Subject, data: bytes) -> None:
    digest, packed = digest_of(data), pack(data)
    stat = blobs.put(digest, len(data), chunks(packed))
    assert stat.packed_size == len(packed)
    assert blobs.stat(digest) == stat
    assert read(blobs, digest) == packed
    assert unpack(read(blobs, digest), len(data)) == data


def test_an_empty_blob_is_a_blob(blobs: Subject) -> None:
    digest = digest_of(b"")
    blobs.put(digest, 0, [pack(b"")])
    assert unpack(read(blobs, digest), 0) == b""


def test_a_missing_blob_is_told(blobs: Subject, data: bytes) -> None:
    digest = digest_of(data)
    assert blobs.stat(digest) is None
    with pytest.raises(NotFound):
        blobs.open(digest)


def test_putting_again_changes_nothing(blobs: Subject, data: bytes) -> None:
    digest, packed = digest_of(data), pack(data)
    for _ in range(2):
        blobs.put(digest, len(data), chunks(packed))
    assert unpack(read(blobs, digest), len(data)) == data


def test_many_chunks_and_one_make_the_same_blob(blobs: Subject, data: bytes) -> None:
    digest = digest_of(data)
    blobs.put(digest, len(data), packed_from(chunks(data), len(data)))
    assert unpack(read(blobs, digest), len(data)) == data


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, 100_000), (39_999, 40_001), (99_999, 100_000), (500, 90_000)]
)
def test_a_range_is_of_the_uncompressed_bytes(blobs: Subject, data: bytes, start: int, stop: int) -> None:
    digest = digest_of(data)
    blobs.put(digest, len(data), chunks(pack(data)))
    assert blobs.read_range(digest, len(data), start, stop) == data[start:stop]


def _wrong(data: bytes) -> dict[str, tuple[bytes, int, type[InductoryError]]]:
    packed = pack(data)
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 1
    return {
        "other bytes": (pack(data[::-1]), len(data), DigestMismatch),
        "swapped for a longer blob": (pack(data + b"more"), len(data), SizeMismatch),
        "a size that lies: less": (packed, len(data) - 1, SizeMismatch),
        "a size that lies: more": (packed, len(data) + 1, SizeMismatch),
        "truncated": (packed[:-1], len(data), Corrupt),
        "nothing": (b"", len(data), Corrupt),
        "not zstd": (data, len(data), Corrupt),
        "a bit flipped": (bytes(flipped), len(data), InductoryError),
        "two frames": (packed + packed, len(data), InductoryError),
        "bytes after the frame": (packed + b"x", len(data), Corrupt),
        "a bomb": (pack(bytes(50_000_000)), len(data), SizeMismatch),
        "a frame of nothing, over and over": (_skippable(300_000), len(data), TooLarge),
    }


def _skippable(size: int) -> bytes:
    """A zstd frame that unpacks to nothing, however long it is (RFC 8878, 3.1.2)."""
    return b"\x50\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(size)


@pytest.mark.parametrize("what", _wrong(b""))
def test_wrong_bytes_leave_nothing(blobs: Subject, data: bytes, what: str) -> None:
    sent, size, error = _wrong(data)[what]
    digest = digest_of(data)
    with pytest.raises(error):
        blobs.put(digest, size, chunks(sent))
    assert blobs.stat(digest) is None
    with pytest.raises(NotFound):
        blobs.open(digest)


def test_wrong_bytes_leave_what_was_there(blobs: Subject, data: bytes) -> None:
    digest = digest_of(data)
    blobs.put(digest, len(data), chunks(pack(data)))
    with pytest.raises(DigestMismatch):
        blobs.put(digest, len(data), chunks(pack(data[::-1])))
    assert unpack(read(blobs, digest), len(data)) == data


def test_a_writer_that_gives_up_leaves_nothing(blobs: Subject, data: bytes) -> None:
    class GivenUp(Exception):
        """The sender is gone."""

    def broken() -> Iterator[bytes]:
        yield from list(chunks(pack(data)))[:3]
        raise GivenUp

    digest = digest_of(data)
    with pytest.raises(GivenUp):
        blobs.put(digest, len(data), broken())
    assert blobs.stat(digest) is None
    blobs.put(digest, len(data), chunks(pack(data)))
    assert unpack(read(blobs, digest), len(data)) == data


def test_writers_of_one_blob_may_race(blobs: Subject, data: bytes) -> None:
    digest, packed = digest_of(data), pack(data)
    with ThreadPoolExecutor(8) as pool:
        for put in [pool.submit(blobs.put, digest, len(data), chunks(packed)) for _ in range(16)]:
            put.result()
    assert unpack(read(blobs, digest), len(data)) == data


def test_list_and_delete(place: BlobStore, data: bytes) -> None:
    digests = []
    for part in (data[:10], data[10:30], data[30:90]):
        digests.append(digest_of(part))
        place.put(digests[-1], len(part), [pack(part)])
    assert list(place.list()) == sorted(digests)
    assert place.delete(digests[0])
    assert not place.delete(digests[0])
    assert place.stat(digests[0]) is None
    assert list(place.list()) == sorted(digests[1:])


def test_who_has_it_open_reads_on_after_a_delete(place: BlobStore, data: bytes) -> None:
    digest = digest_of(data)
    place.put(digest, len(data), [pack(data)])
    with place.open(digest) as file:
        place.delete(digest)
        assert unpack(file.read(), len(data)) == data


def test_a_blob_is_read_from_any_place_of_it(place: BlobStore, data: bytes) -> None:
    digest, packed = digest_of(data), pack(data)
    place.put(digest, len(data), chunks(packed))
    with place.open(digest) as file:
        assert file.seek(0, io.SEEK_END) == len(packed)
        assert file.read() == b""
        for at in (0, 30_000, 7, len(packed) - 1):
            assert file.seek(at) == at
            assert file.read(10) == packed[at : at + 10]
        file.seek(0)
        assert file.read() == packed


@pytest.fixture(scope="module")
def large() -> bytes:
    """More than any place keeps in memory or sends at a time; it doesn't shrink."""
    return random.Random("large").randbytes(20 << 20)


def test_a_large_blob(blobs: Subject, large: bytes) -> None:
    digest = digest_of(large)
    stat = blobs.put(digest, len(large), chunks(pack(large), 300_000))
    assert blobs.stat(digest) == stat
    assert unpack(read(blobs, digest), len(large)) == large
    assert blobs.read_range(digest, len(large), 12_345_678, 12_345_688) == large[12_345_678:12_345_688]


def test_a_large_blob_is_read_from_any_place_of_it(place: BlobStore, large: bytes) -> None:
    digest, packed = digest_of(large), pack(large)
    place.put(digest, len(large), chunks(packed, 300_000))
    with place.open(digest) as file:
        for at in (0, 15_000_000, 3_000_000, 3_000_100, len(packed) - 10):
            file.seek(at)
            assert file.read(10) == packed[at : at + 10]


@pytest.mark.parametrize("what", ["the last bit flipped", "truncated", "bytes after the frame"])
def test_a_large_blob_with_a_wrong_end_leaves_nothing(blobs: Subject, what: str) -> None:
    """Most of it has been taken by then."""
    large = random.Random(what).randbytes(20 << 20)
    packed = pack(large)
    ends = {
        "the last bit flipped": bytes([packed[-1] ^ 1]),
        "truncated": b"",
        "bytes after the frame": packed[-1:] + b"x",
    }
    digest = digest_of(large)
    with pytest.raises(InductoryError):
        blobs.put(digest, len(large), chunks(packed[:-1] + ends[what], 300_000))
    assert blobs.stat(digest) is None
    with pytest.raises(NotFound):
        blobs.open(digest)


def test_a_long_list(place: BlobStore) -> None:
    """Of more pages than one, where a place has pages."""
    parts = [b"part %d" % at for at in range(25)]
    for part in parts:
        place.put(digest_of(part), len(part), [pack(part)])
    assert list(place.list()) == sorted(map(digest_of, parts))


def test_a_healthy_place_says_so(place: BlobStore) -> None:
    place.check()
    assert list(place.list()) == []
