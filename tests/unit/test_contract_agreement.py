"""What differs between two artifacts of one key, part by part."""

from __future__ import annotations

import pytest
from contract_samples import changed, describe, subject
from inductory_client.contract.agreement import NAME_CHARS_MAX, PARTS_MAX, Comparison, compare
from inductory_client.contract.artifact import Subject
from inductory_client.contract.descriptor import GRAPH, LOADABLE_DISPATCH, NATIVE, PAYLOAD, PYTHON
from inductory_client.contract.wire import decode, encode

KEPT = subject()
PAYLOAD_PART, NATIVE_PART, SOURCE_PART = KEPT.descriptors


def parts(comparison: Comparison) -> list[tuple[str, str, str]]:
    return [(each.media_type, each.name, each.how) for each in comparison.parts]


def with_parts(*descriptors: object) -> Subject:
    return changed(KEPT, descriptors=descriptors)  # type: ignore[no-any-return]


def test_equal_artifacts_differ_in_nothing() -> None:
    assert compare(KEPT, KEPT) == Comparison(differing=0)
    shuffled = with_parts(SOURCE_PART, NATIVE_PART, PAYLOAD_PART)
    assert compare(KEPT, shuffled) == Comparison(differing=0), "the order of parts is nobody's concern"


def test_each_part_is_told_by_its_media_type_and_name() -> None:
    later = with_parts(
        describe(b"another source", PYTHON, "output_code.py"),
        describe(b"another payload"),
        describe(b"\x7fELF", NATIVE, "other.so"),
    )
    comparison = compare(KEPT, later)
    assert comparison.differing == 4
    assert parts(comparison) == [
        (NATIVE, "cabc.so", "missing"),
        (NATIVE, "other.so", "added"),
        (PAYLOAD, "", "different"),
        (PYTHON, "output_code.py", "different"),
    ]
    assert str(comparison) == (
        "native file cabc.so (missing), native file other.so (added), payload, source output_code.py"
    )
    assert decode(encode(comparison), Comparison) == comparison


def test_what_a_load_reads_stands_in_front() -> None:
    kept = with_parts(describe(b"1", GRAPH, "graph.json"), describe(b"1", LOADABLE_DISPATCH))
    later = with_parts(describe(b"2", GRAPH, "graph.json"), describe(b"2", LOADABLE_DISPATCH))
    assert str(compare(kept, later)) == "dispatch, graph graph.json"


def test_parts_without_a_name_are_compared_together() -> None:
    one, other = describe(b"one"), describe(b"other")
    assert compare(with_parts(one, other), with_parts(other, one)).differing == 0
    assert parts(compare(with_parts(one, other), with_parts(one))) == [(PAYLOAD, "", "different")]


@pytest.mark.parametrize("changes", [{"guards": ("z0 > 1",)}, {"requires": {"cuda.driver": "12.8"}}])
def test_what_is_signed_besides_blobs(changes: dict[str, object]) -> None:
    assert parts(compare(KEPT, changed(KEPT, **changes))) == [("", *changes, "different")]


def test_a_comparison_is_bounded() -> None:
    later = with_parts(*(describe(b"x", NATIVE, f"{at:03}{'n' * 300}") for at in range(100)))
    comparison = compare(KEPT, later)
    assert (comparison.differing, len(comparison.parts)) == (103, PARTS_MAX)
    assert max(len(each.name) for each in comparison.parts) == NAME_CHARS_MAX
    assert str(comparison).endswith(f" and {103 - PARTS_MAX} more")
