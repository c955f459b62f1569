"""The plan of what goes: nothing that is rooted, used or named, and the least recently used first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inductory_store.lifetime.blob_fate import BlobHeld, blob_fate
from inductory_store.lifetime.holdings import KINDS, Held, Holdings, Name, Rule, last_uses, reached
from inductory_store.lifetime.plan import Plan, plan

DAY, GRACE_S, NOW = 86_400.0, 86_400.0, 1000 * 86_400.0


def build(key: str) -> Name:
    return Name("build", key)


def manifest(key: str) -> Name:
    return Name("manifest", key)


def artifact(key: str) -> Name:
    return Name("artifact", key)


def days(*, ago: float) -> float:
    return NOW - ago * DAY


def start(ago: float, key: str = "b", blob: str = "blob", condemned: float | None = None) -> dict[Name, Held]:
    """A build of one manifest of one artifact of one blob, all last used then."""
    at = days(ago=ago)
    return {
        build(key): Held(at, condemned, (manifest(key),)),
        manifest(key): Held(at, condemned, (artifact(key),)),
        artifact(key): Held(at, condemned, (), (blob,)),
    }


def kinds(found: tuple[object, ...]) -> list[str]:
    return [f"{each.kind} {each.key}" for each in found]  # type: ignore[attr-defined]


def planned(held: Mapping[Name, Held], rule: Rule, *roots: Name, **sizes: int) -> Plan:
    holdings = Holdings("default", held, sizes or {"blob": 100}, frozenset(roots), rule)
    return plan(holdings, NOW, GRACE_S)


def test_everything_is_kept_for_ever_unless_a_rule_says_otherwise() -> None:
    found = planned(start(ago=900), Rule())
    assert (found.condemn, found.drop, found.kept_bytes) == ((), (), 100)


def test_what_nobody_used_is_condemned_and_then_dropped_after_its_grace() -> None:
    rule = Rule(unused_s=30 * DAY)
    assert planned(start(ago=30), rule).condemn == ()
    found = planned(start(ago=31), rule)
    assert kinds(found.condemn) == ["build b", "manifest b", "artifact b"]
    assert [each.bytes for each in found.condemn] == [0, 0, 100]
    assert {each.why for each in found.condemn} == {"unused"}
    assert found.drop == ()
    assert planned(start(31, condemned=days(ago=0.9)), rule).drop == ()
    found = planned(start(31, condemned=days(ago=1)), rule)
    assert (found.condemn, kinds(found.drop)) == ((), ["build b", "manifest b", "artifact b"])


def test_what_is_used_in_its_grace_is_rescued_with_all_that_it_names() -> None:
    held = start(31, condemned=days(ago=2))
    held[build("b")] = replace(held[build("b")], used_at=NOW)
    found = planned(held, Rule(unused_s=30 * DAY))
    assert (found.condemn, found.drop) == ((), ())
    assert sorted(kinds(found.rescue)) == ["artifact b", "build b", "manifest b"]


def test_a_build_is_used_by_whoever_asks_for_all_of_its_artifacts() -> None:
    held = start(31)
    held[manifest("b")] = replace(held[manifest("b")], names=(artifact("b"), artifact("c")))
    held[artifact("b")] = replace(held[artifact("b")], used_at=NOW)
    held[artifact("c")] = Held(days(ago=31))
    found = planned(held, Rule(unused_s=30 * DAY))
    assert sorted(kinds(found.condemn)) == ["artifact c", "build b", "manifest b"]
    held[artifact("c")] = Held(NOW)
    assert planned(held, Rule(unused_s=30 * DAY)).condemn == ()


def test_the_least_recently_used_goes_first_under_a_quota() -> None:
    held = {**start(3, "old", "one"), **start(2, "newer", "two"), **start(1, "new", "three")}
    found = planned(held, Rule(bytes_max=250), one=100, two=100, three=100)
    assert kinds(found.condemn) == ["build old", "manifest old", "artifact old"]
    assert {each.why for each in found.condemn} == {"quota"}
    assert (found.kept_bytes, found.over_bytes) == (200, 0)


def test_a_shared_blob_counts_once_and_goes_with_the_last_that_names_it() -> None:
    held = {**start(3, "old"), **start(2, "new")}
    assert planned(held, Rule(bytes_max=100)).condemn == ()
    found = planned(held, Rule(bytes_max=99))
    assert [each.bytes for each in found.condemn] == [0, 0, 0, 0, 0, 100]


@pytest.mark.parametrize("root", [build("old"), manifest("old"), artifact("old")])
def test_what_a_root_reaches_stays_whatever_the_rule(root: Name) -> None:
    held = {**start(300, "old", "one"), **start(2, "new", "two")}
    found = planned(held, Rule(unused_s=DAY, bytes_max=10), root, one=100, two=100)
    gone = {each.name for each in found.condemn}
    assert artifact("old") not in gone
    assert artifact("new") in gone
    assert (found.kept_bytes, found.over_bytes) == (100, 90)


def test_a_part_waits_for_the_grace_of_what_names_it() -> None:
    held = start(31, condemned=days(ago=2))
    held[build("b")] = replace(held[build("b")], condemned_at=days(ago=0.5))
    found = planned(held, Rule(unused_s=30 * DAY))
    assert (found.drop, found.rescue, found.condemn) == ((), (), ())


KEYS = st.sampled_from("abcdef")
AGES = st.floats(0, 100).map(lambda ago: days(ago=ago))


@st.composite
def holdings(draw: st.DrawFn) -> Holdings:
    """Any graph: shared parts, parts without a name, names without parts."""
    held: dict[Name, Held] = {}
    digests = [f"blob {at}" for at in range(6)]
    for kind in reversed(KINDS):
        parts = sorted(held)
        if kind == "manifest":
            parts = [name for name in parts if name.kind == "artifact"]
        for key in sorted(draw(st.sets(KEYS))):
            names = draw(st.lists(st.sampled_from(parts), unique=True)) if parts else []
            held[Name(kind, key)] = Held(
                draw(AGES),
                draw(st.none() | AGES),
                tuple(names) if kind != "artifact" else (),
                tuple(draw(st.lists(st.sampled_from(digests), unique=True))) if kind != "build" else (),
            )
    rule = Rule(
        draw(st.none() | st.floats(1, 100).map(lambda n: n * DAY)), draw(st.none() | st.integers(0, 500))
    )
    roots = frozenset(draw(st.sets(st.sampled_from(sorted(held))))) if held else frozenset()
    return Holdings("default", held, {digest: 100 for digest in digests}, roots, rule)


@settings(max_examples=400)
@given(holdings())
def test_any_plan_keeps_what_it_must(given: Holdings) -> None:
    found = plan(given, NOW, GRACE_S)
    uses, safe = last_uses(given.held), reached(given.held, given.roots)
    dropped = {each.name for each in found.drop}
    condemned = {name for name, each in given.held.items() if each.condemned_at is not None}
    going = {each.name for each in found.condemn} | condemned - {each.name for each in found.rescue}
    kept = given.held.keys() - going
    assert not safe & going, "what a root reaches stays"
    assert dropped <= going & condemned
    assert not {each for name in kept for each in given.held[name].names} & going, "what stays is whole"
    left = given.held.keys() - dropped
    assert not {each for name in left for each in given.held[name].names} & dropped, "and what is left"
    for each in found.drop:
        assert each.condemned_at is not None
        assert each.condemned_at <= NOW - GRACE_S
    blobs = {digest for name in kept for digest in given.held[name].blobs}
    assert found.kept_bytes == 100 * len(blobs)
    rule = given.rule
    if rule.unused_s is not None:
        assert all(NOW - uses[name] <= rule.unused_s for name in kept - safe)
    if rule.bytes_max is not None:
        assert found.kept_bytes <= rule.bytes_max or kept <= safe
        assert found.over_bytes == max(0, found.kept_bytes - rule.bytes_max)
    elif rule.unused_s is None:
        assert not going
    quota = [uses[each.name] for each in found.condemn if each.why == "quota"]
    assert all(used <= uses[name] for used in quota for name in kept - safe), "the least recently used first"


@settings(max_examples=200)
@given(holdings())
def test_a_plan_that_was_done_leaves_nothing_to_condemn_or_to_rescue(given: Holdings) -> None:
    # Who is dropped lends its uses no more to what it named, which may then be older than what stays. So
    # first until nothing is dropped: each round leaves less.
    while (found := plan(given, NOW, GRACE_S)).drop:
        given = done(given, found)
    again = plan(done(given, found), NOW, GRACE_S)
    assert (again.condemn, again.rescue, again.drop) == ((), (), ())


def done(given: Holdings, found: Plan) -> Holdings:
    """Return what is held once a plan was carried out."""
    marks = {each.name: NOW for each in found.condemn} | {each.name: None for each in found.rescue}
    dropped = {each.name for each in found.drop}
    held = {
        name: replace(each, condemned_at=marks.get(name, each.condemned_at))
        for name, each in given.held.items()
        if name not in dropped
    }
    return replace(given, held=held)


def test_a_blob_that_nothing_names_goes_after_its_grace() -> None:
    held = BlobHeld("blob", 100, named=False, condemned_at=None)
    assert blob_fate(held, NOW, GRACE_S) == "condemn"
    held = replace(held, condemned_at=NOW)
    assert blob_fate(held, NOW + GRACE_S - 1, GRACE_S) == "keep"
    assert blob_fate(held, NOW + GRACE_S, GRACE_S) == "delete"
    assert blob_fate(replace(held, deleting=True), NOW, GRACE_S) == "delete", "what was begun is finished"
    assert blob_fate(replace(held, named=True, deleting=True), NOW, GRACE_S) == "delete", "or undone"
    assert blob_fate(replace(held, named=True), NOW + GRACE_S, GRACE_S) == "rescue"
    assert blob_fate(replace(held, named=True, condemned_at=None), NOW, GRACE_S) == "keep"
