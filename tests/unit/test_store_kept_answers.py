"""Answers are kept for a while, within bounds, and forgotten when something changes."""

from __future__ import annotations

from client_samples import FakeClock
from inductory_store.kept_answers import ANSWER_BYTES_MAX, KEPT_S, MOMENT_S, KeptAnswers


def test_what_is_kept_is_found_for_a_while() -> None:
    clock = FakeClock()
    kept = KeptAnswers(clock=clock)
    kept.keep("question", b"answer", kept.changes)
    clock.pass_by(KEPT_S / 2)
    assert kept.get("question") == b"answer"
    assert kept.get("another") is None
    clock.pass_by(KEPT_S / 2)
    assert kept.get("question") is None


def test_one_is_told_that_an_answer_is_old_and_the_others_have_it_a_moment_longer() -> None:
    clock = FakeClock()
    kept = KeptAnswers(clock=clock)
    kept.keep("question", b"old", kept.changes)
    clock.pass_by(KEPT_S)
    assert [kept.get("question") for _ in range(3)] == [None, b"old", b"old"]
    clock.pass_by(MOMENT_S)
    assert kept.get("question") is None, "the first one never came back"
    kept.keep("question", b"new", kept.changes)
    assert kept.get("question") == b"new"
    clock.pass_by(2 * KEPT_S)
    assert [kept.get("question") for _ in range(2)] == [None, None], "nobody has asked for long"


def test_the_least_recently_used_goes_first() -> None:
    kept = KeptAnswers(bytes_max=30, clock=FakeClock())
    for name in ("a", "b", "c"):
        kept.keep(name, bytes(10), kept.changes)
    kept.get("a")
    kept.keep("d", bytes(10), kept.changes)
    assert [name for name in "abcd" if kept.get(name) is not None] == ["a", "c", "d"]


def test_an_answer_that_is_kept_again_counts_once() -> None:
    kept = KeptAnswers(bytes_max=30, clock=FakeClock())
    for _ in range(9):
        kept.keep("a", bytes(10), kept.changes)
    kept.keep("b", bytes(20), kept.changes)
    assert kept.get("a") is not None
    assert kept.get("b") is not None


def test_a_long_answer_isnt_kept() -> None:
    kept = KeptAnswers(clock=FakeClock())
    kept.keep("long", bytes(ANSWER_BYTES_MAX + 1), kept.changes)
    assert kept.get("long") is None


def test_a_change_forgets_all_and_what_was_begun_before() -> None:
    kept = KeptAnswers(clock=FakeClock())
    kept.keep("a", b"answer", kept.changes)
    begun = kept.changes
    kept.forget()
    kept.keep("b", b"from before", begun)
    assert kept.get("a") is None
    assert kept.get("b") is None
    kept.keep("b", b"from now", kept.changes)
    assert kept.get("b") == b"from now"
