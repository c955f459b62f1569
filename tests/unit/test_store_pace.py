"""How slowly a body may arrive."""

from __future__ import annotations

import pytest
from inductory_store.pace import Pace


def test_the_first_part_may_take_the_longest_silence() -> None:
    assert Pace(30.0, 1000.0).patience_s == 30.0


def test_a_drip_does_not_renew_the_patience() -> None:
    pace = Pace(30.0, 1000.0)
    for _ in range(29):
        pace.arrived(1, 1.0)
    assert pace.patience_s == pytest.approx(1.0, abs=0.1)
    pace.arrived(1, 1.0)
    pace.arrived(1, 1.0)
    assert pace.patience_s == 0.0


def test_a_body_that_keeps_the_rate_goes_on_for_ever() -> None:
    pace = Pace(30.0, 1000.0)
    for _ in range(10_000):
        pace.arrived(1000, 1.0)
    assert pace.patience_s == pytest.approx(30.0)


def test_what_came_fast_is_no_credit_for_a_longer_silence() -> None:
    pace = Pace(30.0, 1000.0)
    pace.arrived(1_000_000, 0.0)
    assert pace.patience_s == 30.0
