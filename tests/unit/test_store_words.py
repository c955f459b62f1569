"""Numbers as people read them, and the chart they stand beside."""

from __future__ import annotations

import pytest
from inductory_store.dashboard.page import CHART_HEIGHT, bars
from inductory_store.dashboard.words import ago, amount, duration, percent, size
from inductory_store.operations.overview import HOURS, Hour, summed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (2.25, "2.2 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (18_120, "5 h 2 min"),
        (111_600, "1 d 7 h"),
        (200_000_000, "2,314 d 19 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_other_words() -> None:
    assert [ago(each) for each in (5, 60, 7200, 90_000)] == [
        "just now",
        "1 minute ago",
        "2 hours ago",
        "1 day ago",
    ]
    assert amount(1234567) == "1,234,567"
    assert [size(each) for each in (0, 999, 2048, 300 * 1024, 5 << 40)] == [
        "0 B",
        "999 B",
        "2.0 KiB",
        "300 KiB",
        "5.0 TiB",
    ]
    assert percent(2, 3) == "67 %"
    assert percent(0, 0) == "–"


def test_the_day_is_summed_by_hour_and_kind() -> None:
    day = summed([(0, "hit", 3, 0.0), (23, "miss", 2, 0.0), (23, "load", 4, 12.5), (24, "hit", 5, 0.0)])
    assert (day.hits, day.misses, day.effective_hits, day.saved_seconds) == (8, 2, 4, 12.5)
    assert len(day.hours) == HOURS
    assert day.hours[0] == Hour(3, 0)
    assert day.hours[23] == Hour(5, 2)


def test_the_highest_bar_fills_the_chart() -> None:
    chart = bars([Hour(0, 0), Hour(3, 1), Hour(1, 1)])
    assert chart[1].hits + chart[1].misses == CHART_HEIGHT
    assert chart[1].label == "1 to 2 hours ago: 3 hits, 1 misses"
    assert all(bar.hits == bar.misses == 0 for bar in bars([Hour(0, 0)] * 24))
