"""Files cut where their pieces lie in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from inductory_client.integrations.vllm.segments import PIECE_BYTES_MIN, SEGMENTS_MAX, cut, joined, named

FIRST, SECOND = b"first" * 1000, b"second" * 1000


def test_pieces_are_segments_of_their_own() -> None:
    segments = cut(b"head" + FIRST + b"between" + SECOND, [SECOND, FIRST, FIRST])
    assert segments == [b"head", FIRST, b"between", SECOND]


def test_what_is_not_in_the_file_as_it_is_stays_a_part_of_others() -> None:
    assert cut(b"head" + FIRST, [SECOND]) == [b"head" + FIRST]
    assert cut(b"a" * 10, [b"a"]) == [b"a" * 10], "short pieces aren't worth a blob"
    assert cut(b"", []) == [b""]


def test_pieces_that_overlap_do_not_break_the_file() -> None:
    data = b"x" * 5000
    assert b"".join(cut(data, [b"x" * 2000, b"x" * 3000])) == data


def test_a_file_of_very_many_pieces_has_no_more_segments_than_an_artifact_may_hold() -> None:
    pieces = [bytes([place % 256, place // 256]) * PIECE_BYTES_MIN for place in range(600)]
    segments = cut(b"-".join(pieces), pieces)
    assert len(segments) <= SEGMENTS_MAX
    assert b"".join(segments) == b"-".join(pieces)


@given(st.lists(st.binary(min_size=PIECE_BYTES_MIN, max_size=PIECE_BYTES_MIN + 8), max_size=4), st.binary())
def test_the_segments_are_the_file(pieces: list[bytes], between: bytes) -> None:
    data = between.join([b"head", *pieces])
    segments = cut(data, pieces)
    assert joined("model", named("model", segments)) == data


def test_a_file_that_lacks_a_segment_is_none() -> None:
    files = named("model", [b"a", b"b", b"c"])
    del files["model/0001"]
    assert joined("model", files) is None
    assert joined("other", files) is None
