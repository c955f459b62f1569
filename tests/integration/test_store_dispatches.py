"""Loadable dispatches at the store: artifacts that builds name, and no part of a manifest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.build import Build
from inductory_client.contract.digest import digest_of
from inductory_client.contract.key import BACKEND, DISPATCH_BACKEND
from inductory_client.contract.manifest import Manifest
from msgspec.structs import replace
from store_messages import Talk, build, manifest, problem


@pytest.fixture
def talk(any_store_url: str, request: pytest.FixtureRequest) -> Iterator[Talk]:
    """A namespace of its own for each test."""
    talk = Talk(any_store_url, "dispatches-" + digest_of(request.node.name.encode())[:12])
    yield talk
    talk.http.close()


def dispatched(talk: Talk, captured: Manifest, *dispatches: Artifact | None) -> Build:
    """Publish a build with an entry for each dispatch, all of one graph."""
    start = build([captured], talk.namespace)
    entries = [
        replace(start.entries[0], dispatch=each.key if each is not None else None) for each in dispatches
    ]
    start = replace(start, entries=tuple(entries))
    assert talk.put_build(start).is_success
    return start


def seen(talk: Talk, limit: int = 500, **query: object) -> list[tuple[int | None, str]]:
    """Turn all pages of the lookup."""
    found: list[tuple[int | None, str]] = []
    while True:
        answer = talk.http.get("/v1/artifacts", params={"limit": limit, **query})  # type: ignore[dict-item]
        page = wire.decode(answer.content, wire.LookupPage)
        found += [(entry.submodule_index, entry.artifact) for entry in page.entries]
        if page.next is None:
            return found
        query["cursor"] = page.next


def test_a_build_names_only_dispatches_that_are_there(talk: Talk) -> None:
    piece = talk.publish(b"payload")
    captured = manifest([piece])
    talk.put_manifest(captured)
    start = build([captured], talk.namespace)
    for what in ("00" * 32, piece.key):
        entry = replace(start.entries[0], dispatch=what)
        found = problem(talk.put_build(replace(start, entries=(entry,))), 409, "artifact_missing")
        assert what in found.detail
        assert "dispatches" in found.detail
    problem(talk.http.get(f"/v1/builds/{start.key}"), 404, "not_found")


def test_an_entry_is_told_apart_by_its_dispatch_too(talk: Talk) -> None:
    captured = manifest([talk.publish(b"payload")])
    talk.put_manifest(captured)
    first, second = (talk.publish_dispatch(b"dispatch", entry) for entry in ("first", "second"))
    for _ in range(2):
        for each in (None, first, second):
            start = dispatched(talk, captured, each)
    read = wire.decode(talk.http.get(f"/v1/builds/{start.key}").content, Build)
    assert [entry.dispatch for entry in read.entries] == [None, first.key, second.key]


def test_dispatches_are_counted_apart_from_pieces_and_graphs(talk: Talk) -> None:
    captured = manifest([talk.publish(b"payload")])
    talk.put_manifest(captured)
    dispatched(talk, captured, None, *(talk.publish_dispatch(b"dispatch", entry) for entry in "ab"))
    (listed,) = wire.decode(talk.http.get("/v1/builds").content, wire.BuildPage).builds
    assert (listed.entries, listed.graphs, listed.artifacts, listed.dispatches) == (3, 1, 1, 2)
    stats = wire.decode(talk.http.get("/v1/stats").content, wire.Stats)
    assert (stats.artifacts, stats.dispatches) == (3, 2)
    assert "of them dispatches" in talk.http.get(talk.url).text


def test_the_lookup_lists_a_dispatch_before_the_pieces_it_calls(talk: Talk) -> None:
    pieces = [talk.publish(b"piece %d" % at, f"graph {at}") for at in range(2)]
    captured = manifest(pieces)
    talk.put_manifest(captured)
    one, two = sorted((talk.publish_dispatch(b"dispatch", entry) for entry in "ab"), key=lambda a: a.key)
    used = [(index, each.key) for index, each in enumerate(pieces)]
    both = {(None, one.key), (None, two.key)}
    assert seen(talk)[:2] == [(None, one.key), (None, two.key)], "until a build names them, on their own"
    # Under two names, a dispatch of one graph is still one use.
    start = dispatched(talk, captured, one, None, one, two)
    twice = replace(start, entries=(replace(start.entries[0], name="again"),))
    talk.put_build(twice)
    for limit in (1, 2, 500):
        assert seen(talk, limit) == [*sorted(both), *used]
    assert set(seen(talk, backend=DISPATCH_BACKEND, build=start.key)) == both
    assert seen(talk, backend=BACKEND, manifest=captured.id) == used
    assert seen(talk, submodule_index=0) == used[:1]
    assert set(seen(talk, shape="any", model=start.model)) == both
    assert wire.decode(talk.http.get(f"/v1/artifacts/{one.key}").content, Artifact) == one
    assert talk.resolve(one.key).hits == (one,)
