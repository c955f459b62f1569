"""Blobs in a stream: nobody gets a whole blob of wrong bytes, and nothing makes more than was declared."""

from __future__ import annotations

import random

import pytest
from inductory_client.contract.blob import pack, packed_bytes_max, unpack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Corrupt, DigestMismatch, InductoryError, SizeMismatch
from inductory_store.blobs.unpacking import Unpacking, packed_from, unpacked, verified

DATA = random.Random(7).randbytes(300_000)
DIGEST = digest_of(DATA)


def cut(data: bytes, size: int = 4096) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def test_chunks_pass_unchanged() -> None:
    assert b"".join(verified(cut(pack(DATA)), DIGEST, len(DATA))) == pack(DATA)


def test_the_last_chunk_is_held_until_the_blob_is_verified() -> None:
    packed = pack(DATA[::-1])
    got: list[bytes] = []
    with pytest.raises(DigestMismatch):
        got.extend(verified(cut(packed), DIGEST, len(DATA)))
    assert len(b"".join(got)) < len(packed)


@pytest.mark.parametrize(("start", "stop"), [(0, 300_000), (0, 10), (290_000, 300_000), (100_000, 200_000)])
def test_a_slice_of_wrong_bytes_is_never_whole(start: int, stop: int) -> None:
    damaged = bytearray(DATA)
    damaged[-1] ^= 1
    got: list[bytes] = []
    pieces = unpacked(cut(pack(bytes(damaged))), DIGEST, len(DATA), start, stop)
    with pytest.raises(DigestMismatch):
        got.extend(pieces)
    assert len(b"".join(got)) < stop - start


def test_slices() -> None:
    packed = cut(pack(DATA))
    for start, stop in ((0, 0), (0, 1), (5, 5), (131_071, 131_073), (0, len(DATA)), (299_999, 300_000)):
        assert b"".join(unpacked(packed, DIGEST, len(DATA), start, stop)) == DATA[start:stop]


def test_a_bomb_is_defused_after_what_was_declared() -> None:
    unpacking = Unpacking(DIGEST, 1000)
    pieces = (piece for chunk in cut(pack(bytes(100_000_000)), 512) for piece in unpacking.feed(chunk))
    made: list[bytes] = []
    with pytest.raises(SizeMismatch):
        made.extend(pieces)
    assert len(b"".join(made)) <= 1000


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_never_a_blob(seed: int) -> None:
    noise = random.Random(seed)
    packed = bytearray(pack(DATA))
    for _ in range(noise.randrange(1, 4)):
        packed[noise.randrange(len(packed))] ^= 1 << noise.randrange(8)
    with pytest.raises(InductoryError):
        list(verified(cut(bytes(packed), noise.randrange(1, 50_000)), DIGEST, len(DATA)))


def test_packing_in_a_stream_is_within_what_a_bundle_takes() -> None:
    for data in (b"", b"x", DATA, bytes(1_000_000)):
        packed = b"".join(packed_from(cut(data), len(data)))
        assert unpack(packed, len(data)) == data
        assert len(packed) <= packed_bytes_max(len(data))


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_packing_minds_the_declared_size(size: int) -> None:
    with pytest.raises((SizeMismatch, Corrupt)):
        list(packed_from(cut(DATA), size))
