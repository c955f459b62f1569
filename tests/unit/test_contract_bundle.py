"""The bundle's framing: what was cut, damaged, swapped or oversized never comes out."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable

import pytest
from contract_samples import artifact, build, manifest
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.contract.blob import pack
from inductory_client.contract.bundle import (
    INDEX_BYTES_MAX,
    MAGIC,
    BundleIndex,
    end_header,
    frame_header,
    read_frames,
)
from inductory_client.contract.descriptor import BLOB_BYTES_MAX
from inductory_client.contract.digest import checksum_of, digest_of
from inductory_client.contract.errors import Corrupt, DigestMismatch, InductoryError, SizeMismatch, TooLarge
from inductory_client.contract.wire import decode, encode

HEADER = struct.Struct("<32sQQ16s")
BLOBS = [b"first", b"", bytes(5000), b"the last of them"]


def frame(data: bytes) -> bytes:
    packed = pack(data)
    return frame_header(digest_of(data), len(data), packed) + packed


def bundle(blobs: Iterable[bytes] = BLOBS) -> bytes:
    frames = [frame(data) for data in blobs]
    return MAGIC + b"".join(frames) + end_header(len(frames))


def read(stream: bytes, bytes_max: int = 1 << 20) -> list[bytes]:
    return [data for _, data, _ in read_frames(io.BytesIO(stream), bytes_max)]


class Dripping(io.BytesIO):
    """A stream that gives a byte or two a call, as sockets may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 1 + self.tell() % 2))


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_round_trip(blobs: list[bytes]) -> None:
    frames = list(read_frames(io.BytesIO(bundle(blobs)), 1 << 20))
    assert [data for _, data, _ in frames] == blobs
    assert [digest for digest, _, _ in frames] == [digest_of(data) for data in blobs]
    assert [packed for _, _, packed in frames] == [pack(data) for data in blobs]


def test_a_stream_in_crumbs() -> None:
    assert [data for _, data, _ in read_frames(Dripping(bundle()), 1 << 20)] == BLOBS


def test_the_layout_is_pinned() -> None:
    packed = pack(b"first")
    expected = HEADER.pack(bytes.fromhex(digest_of(b"first")), 5, len(packed), checksum_of(packed))
    assert bundle([b"first"]) == b"INDBNDL1" + expected + packed + HEADER.pack(bytes(32), 1, 0, bytes(16))


def test_the_index_survives() -> None:
    index = BundleIndex(build=build(), manifests=(manifest(),), artifacts=(artifact(),))
    (data,) = read(bundle([encode(index)]))
    assert decode(data, BundleIndex) == index


@given(st.integers(0, len(bundle()) - 1))
def test_cut_anywhere(length: int) -> None:
    with pytest.raises(Corrupt):
        read(bundle()[:length])


@given(st.integers(0, len(MAGIC + b"".join(map(frame, BLOBS))) * 8 - 1))
def test_a_flipped_bit_never_yields_other_bytes(bit: int) -> None:
    stream = bytearray(bundle())
    stream[bit // 8] ^= 1 << bit % 8
    good: list[bytes] = []

    def collect() -> None:
        for _, data, _ in read_frames(io.BytesIO(stream), 1 << 20):
            good.append(data)

    with pytest.raises(InductoryError):
        collect()
    assert good == BLOBS[: len(good)]


def test_a_frame_under_anothers_digest() -> None:
    packed = pack(b"first")
    stream = MAGIC + frame_header(digest_of(b"other"), 5, packed) + packed + end_header(1)
    with pytest.raises(DigestMismatch, match=digest_of(b"other")):
        read(stream)


def test_packed_bytes_that_changed_places() -> None:
    one, other = pack(b"first"), pack(b"other")
    stream = MAGIC + frame_header(digest_of(b"first"), 5, one) + other + end_header(1)
    with pytest.raises(Corrupt, match="damaged"):
        read(stream)


def test_frames_in_another_order_are_whole_and_say_which_they_are() -> None:
    frames = list(read_frames(io.BytesIO(bundle(BLOBS[::-1])), 1 << 20))
    assert [digest for digest, _, _ in frames] == [digest_of(data) for data in BLOBS[::-1]]


@pytest.mark.parametrize("claimed", [0, 3, 5, 1 << 40])
def test_an_end_that_counts_wrong(claimed: int) -> None:
    stream = MAGIC + b"".join(map(frame, BLOBS)) + end_header(claimed)
    with pytest.raises(Corrupt, match="4 frames"):
        read(stream)


def test_a_frame_left_out() -> None:
    stream = MAGIC + b"".join(map(frame, BLOBS[1:])) + end_header(len(BLOBS))
    with pytest.raises(Corrupt, match="3 frames of 4"):
        read(stream)


@pytest.mark.parametrize("magic", [b"", b"INDBNDL2", b"<html>.."])
def test_something_else_entirely(magic: bytes) -> None:
    with pytest.raises(Corrupt):
        read(magic + bundle()[len(MAGIC) :])


def test_the_whole_bundle_is_bounded() -> None:
    total = sum(map(len, BLOBS))
    assert read(bundle(), total) == BLOBS
    with pytest.raises(TooLarge):
        read(bundle(), total - 1)


class NoMore(io.BytesIO):
    """Fails the test when more than the headers is read."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert self.tell() + (size or 0) <= len(MAGIC) + HEADER.size
        return super().read(size)


@pytest.mark.parametrize(
    ("size", "packed_size"),
    [(BLOB_BYTES_MAX + 1, 10), (1 << 63, 10), (10, 1 << 40), (10, 1000), (1 << 20, 2 << 20)],
)
def test_claims_past_the_bounds_are_refused_before_a_byte_is_read(size: int, packed_size: int) -> None:
    header = HEADER.pack(b"\x01" * 32, size, packed_size, bytes(16))
    with pytest.raises(TooLarge):
        list(read_frames(NoMore(MAGIC + header + bytes(100)), 1 << 62))


def test_a_bomb_in_a_frame() -> None:
    bomb = pack(bytes(32 << 20))
    stream = MAGIC + frame_header(digest_of(bytes(32 << 20)), 1000, bomb[:500]) + bomb[:500] + end_header(1)
    with pytest.raises((Corrupt, SizeMismatch)):
        read(stream)


def test_frames_before_a_fault_are_good() -> None:
    frames = read_frames(io.BytesIO(bundle()[:-1]), 1 << 20)
    assert [next(frames)[1] for _ in BLOBS] == BLOBS
    with pytest.raises(Corrupt, match="cut short"):
        next(frames)


def test_an_index_is_no_longer_than_a_message() -> None:
    packed = pack(bytes(1000))
    header = frame_header("ab" * 32, INDEX_BYTES_MAX + 1, packed)
    with pytest.raises(TooLarge):
        list(read_frames(NoMore(MAGIC + header + packed), 1 << 40))


class NoLongReads(io.BytesIO):
    """Fails the test when much is asked for at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert 0 <= (size or 0) <= 1 << 20
        return super().read(size)


def test_only_what_is_wanted_is_unpacked() -> None:
    wanted, bomb = b"wanted", b"\0" * (1 << 20)
    unwanted = frame_header(digest_of(b"unwanted"), 3 << 20, bomb * 3) + bomb * 3
    stream = b"".join([MAGIC, frame(b"index"), unwanted, frame(wanted), frame(wanted), end_header(4)])
    asked: list[bytes] = []

    def sizes(index: bytes) -> dict[str, int]:
        asked.append(index)
        return {digest_of(wanted): len(wanted)}

    frames = list(read_frames(NoLongReads(stream), 1 << 30, sizes))
    assert [data for _, data, _ in frames] == [b"index", wanted], "what is sent twice comes once"
    assert asked == [b"index"]


def test_a_wanted_blob_of_another_size_is_refused_before_it_is_read() -> None:
    stream = MAGIC + frame(b"index") + frame(b"wanted")[: HEADER.size]
    with pytest.raises(SizeMismatch):
        list(read_frames(io.BytesIO(stream), 1 << 30, lambda index: {digest_of(b"wanted"): 7}))
