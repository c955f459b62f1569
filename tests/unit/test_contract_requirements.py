"""What a machine must have at least: compared as numbers, and unmet where that can't be done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.contract.target import unmet

NUMBERS = st.lists(st.integers(0, 10**9 - 1), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("version", "least"),
    [
        ("12.10", "12.9"),
        ("12", "12.0"),
        ("12.0", "12"),
        ("550.54.15", "550.54"),
        ("13", "12.8"),
        ("0", "0.0"),
    ],
)
def test_a_version_that_reaches_the_least(version: str, least: str) -> None:
    assert unmet({"cuda.driver": least}, {"cuda.driver": version}) == ()


@pytest.mark.parametrize(
    ("version", "least"),
    [
        *(("12.9", "12.10"), ("550.54", "550.54.15"), ("9", "12"), ("", "12"), ("12", ""), ("x", "x")),
        *(("12.8-rc", "12.8"), ("12.", "12"), (".12", "12"), ("-13", "12"), ("١٣", "12"), ("13\n", "12")),
        *(("9" * 10, "12"), ("1.1.1.1.1.1.1.1.1", "1")),
    ],
)
def test_a_version_that_does_not_or_is_none(version: str, least: str) -> None:
    (told,) = unmet({"cuda.driver": least}, {"cuda.driver": version})
    assert told == f"cuda.driver: {version} here, at least {least} needed"


def test_a_requirement_that_nobody_knows_is_unmet() -> None:
    assert unmet({"rocm.driver": "6", "cuda.driver": "12"}, {"cuda.driver": "12.8"}) == (
        "rocm.driver: absent here, at least 6 needed",
    )
    assert unmet({}, {"cuda.driver": "12.8"}) == ()


@given(NUMBERS, NUMBERS)
def test_versions_are_ordered_as_numbers(ours: list[int], least: list[int]) -> None:
    def text(numbers: list[int]) -> str:
        return ".".join(map(str, numbers))

    def padded(numbers: list[int]) -> list[int]:
        return numbers + [0] * (8 - len(numbers))

    met = not unmet({"x": text(least)}, {"x": text(ours)})
    assert met == (padded(ours) >= padded(least))
