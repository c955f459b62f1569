"""Blobs travel as one zstd frame of a size that was declared, or not at all."""

from __future__ import annotations

import os
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.contract.blob import pack, unpack, zstd
from inductory_client.contract.errors import Corrupt, SizeMismatch

DATA = b"some text that packs well " * 50


@given(st.binary(max_size=5000), st.integers(1, 200))
def test_round_trip(data: bytes, times: int) -> None:
    data *= times
    assert unpack(pack(data), len(data)) == data


def test_round_trip_of_what_does_not_shrink_over_many_blocks() -> None:
    data = os.urandom(1 << 20)
    assert unpack(pack(data), len(data)) == data


@pytest.mark.parametrize("level", [-7, 1, 19])
def test_any_level_and_a_frame_that_hides_its_size_are_read(level: int) -> None:
    hiding = zstd.ZstdCompressor(level=level)
    frame = hiding.compress(DATA[:10]) + hiding.compress(DATA[10:]) + hiding.flush()
    assert unpack(frame, len(DATA)) == DATA


@pytest.mark.parametrize("declared", [0, 1, len(DATA) - 1, len(DATA) + 1, 1 << 30])
def test_a_declared_size_that_lies(declared: int) -> None:
    with pytest.raises(SizeMismatch, match=str(declared)):
        unpack(pack(DATA), declared)


def test_a_bomb_is_stopped_at_the_declared_size() -> None:
    bomb = pack(bytes(64 << 20))
    assert len(bomb) < 10_000
    tracemalloc.start()
    with pytest.raises(SizeMismatch):
        unpack(bomb, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@given(st.integers(0, len(pack(DATA)) - 1))
def test_cut_short(length: int) -> None:
    with pytest.raises(Corrupt):
        unpack(pack(DATA)[:length], len(DATA))


@pytest.mark.parametrize("extra", [b"\0", b"trailing", pack(b"another frame")])
def test_bytes_after_the_frame(extra: bytes) -> None:
    with pytest.raises(Corrupt, match="one whole zstd frame"):
        unpack(pack(DATA) + extra, len(DATA))


@pytest.mark.parametrize("junk", [b"", b"\0" * 20, b"plain text", b"\x1f\x8b" + bytes(20), DATA])
def test_what_is_not_zstd(junk: bytes) -> None:
    with pytest.raises(Corrupt):
        unpack(junk, len(junk))


@given(st.integers(0, len(pack(DATA)) * 8 - 1))
def test_a_flipped_bit_raises_or_is_left_to_the_digest(bit: int) -> None:
    """Frames carry no checksum of zstd's: what comes out has the declared size, and its digest decides."""
    packed = bytearray(pack(DATA))
    packed[bit // 8] ^= 1 << bit % 8
    with suppress(Corrupt, SizeMismatch):
        assert len(unpack(bytes(packed), len(DATA))) == len(DATA)
