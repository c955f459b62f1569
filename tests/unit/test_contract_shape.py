"""Shapes have one text each, and it reads back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.contract.errors import Malformed
from inductory_client.contract.shape import Shape, parse_shape, shape_text

lengths = st.integers(0, 10**18 - 1)
ranges = st.tuples(lengths, lengths).map(lambda pair: (min(pair), max(pair))) | st.tuples(lengths, st.none())
shapes = st.none() | lengths | ranges


@given(shapes)
def test_the_text_reads_back(shape: Shape) -> None:
    assert parse_shape(shape_text(shape)) == shape


@given(shapes, shapes)
def test_different_shapes_have_different_texts(one: Shape, other: Shape) -> None:
    assert (shape_text(one) == shape_text(other)) == (one == other)


@pytest.mark.parametrize(
    ("shape", "text"), [((1, 16384), "1-16384"), ((2, None), "2-"), (8, "8"), (None, "any"), ((8, 8), "8-8")]
)
def test_texts_are_pinned(shape: Shape, text: str) -> None:
    assert shape_text(shape) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "-5",
        "5-1",
        "any ",
        "ANY",
        "1-2-3",
        "1 - 2",
        "1.0",
        "٣",
        "8\n",
        "1" + "0" * 18,
        "1-1" + "0" * 18,
        "(1, 2)",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_shape(text)


@pytest.mark.parametrize("shape", [-1, 10**18, (5, 1), (-1, 4), (0, 10**18), (10**18, None), (-1, None)])
def test_what_could_not_be_read_again_is_not_written(shape: Shape) -> None:
    with pytest.raises(Malformed, match="not a shape"):
        shape_text(shape)
