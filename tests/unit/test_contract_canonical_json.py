"""Canonical JSON: equal values have equal bytes, and different values different ones."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.contract.canonical_json import canonical_json, digest_of_json
from inductory_client.contract.digest import checksum_of, digest_of, is_digest

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8"))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(item) for key, item in reversed(value.items())}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@given(values)
def test_it_is_json_that_reads_back(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@given(values)
def test_the_order_of_keys_leaves_no_trace(value: Any) -> None:
    assert canonical_json(reversed_keys(value)) == canonical_json(value)


@given(values)
def test_writing_again_what_was_read_changes_nothing(value: Any) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


def test_its_text_is_pinned() -> None:
    value = {"b": [1, None, True], "a": 'é\n"', "ä": {}, "Z": -1}
    assert canonical_json(value) == '{"Z":-1,"a":"é\\n\\"","b":[1,null,true],"ä":{}}'.encode()


def test_equal_in_python_is_not_equal_in_json() -> None:
    assert len({canonical_json(value) for value in (1, True, "1")}) == 3


def test_structs_and_tuples_become_objects_and_arrays() -> None:
    class Point(msgspec.Struct):
        y: int
        x: tuple[int, ...]

    assert canonical_json(Point(1, (2, 3))) == b'{"x":[2,3],"y":1}'


@pytest.mark.parametrize("value", [1.0, float("nan"), [0.5], {"a": {"b": 2.0}}, (1, (2.0,))])
def test_floats_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"float\.hex"):
        canonical_json(value)


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {True: 1}}, [{2: 2}]])
def test_keys_that_are_not_strings_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="string keys"):
        canonical_json(value)


def test_the_digest_is_of_the_text() -> None:
    assert digest_of_json({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


def test_digest_and_checksum_are_the_algorithms_they_say() -> None:
    assert digest_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of(memoryview(b"xabc")[1:]) == digest_of(b"abc")
    assert checksum_of(b"abc").hex() == "06b05ab6733a618578af5f94892f3950"


@pytest.mark.parametrize(
    "text", ["", "ab" * 31, "AB" * 32, "ab" * 32 + "\n", "ab" * 33, "g" * 64, " " + "a" * 63]
)
def test_what_is_no_digest(text: str) -> None:
    assert not is_digest(text)
    assert is_digest("ab" * 32)
