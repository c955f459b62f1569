"""Differences as people read them: short, within the terminal's width, and with what to do."""

from __future__ import annotations

import pytest
from inductory_client.cli.explain_text import differences_text, time_text
from inductory_client.cli.volatile import Verdict
from inductory_client.contract.digest import digest_of


def lines(ours: str | None, theirs: str | None, width: int = 80, advice: str = "") -> list[str]:
    told = Verdict("factor", ours, theirs, volatile=False, advice=advice)
    return differences_text([told], width).splitlines()


def test_both_values_and_what_to_do() -> None:
    assert lines("4", None, advice="Do this.") == [
        "  factor",
        "    here   4",
        "    there  absent",
        "    -> Do this.",
    ]


def test_a_volatile_one_is_marked() -> None:
    told = Verdict("factor", "1", "2", volatile=True, advice="")
    assert differences_text([told], 80).startswith("  factor (volatile)\n")


def test_of_digests_only_the_beginning_is_shown_and_of_nothing_a_pair_of_quotes() -> None:
    digest = digest_of(b"")
    assert lines(digest, "")[1:] == [f"    here   {digest[:12]}", '    there  ""']


def test_of_lists_only_what_differs_is_shown() -> None:
    assert lines("avx avx2 bmi1 fma", "avx avx2 avx512f bmi1 fma")[1:] == [
        "    here   nothing (beside 4 that both have)",
        "    there  avx512f (beside 4)",
    ]


@pytest.mark.parametrize("width", [10, 40, 80, 120])
@pytest.mark.parametrize("value", ["x" * 4000, "word " * 800, "/a/path" * 300])
def test_long_values_are_cut_and_stay_within_the_width(value: str, width: int) -> None:
    found = lines(value, "short", width, advice="Much is to be said of this. " * 5)
    assert all(len(line) <= max(width, 31) for line in found)
    assert len([line for line in found if "…" in line]) == 1
    assert sum(line.startswith("           ") for line in found) <= 2


def test_times_are_of_one_zone() -> None:
    assert time_text(0.0) == "1970-01-01 00:00:00 UTC"
