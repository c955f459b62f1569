"""Operations in this process: how many queries they take, and what time does to them."""

from __future__ import annotations

import asyncio
import io
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest
from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.bundle import read_frames
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import TooLarge
from inductory_client.contract.target import Target
from inductory_store.app import create_app
from inductory_store.blobs.memory import MemoryBlobs
from inductory_store.catalog.artifacts import artifact_records
from inductory_store.catalog.blobs import mark_damaged
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.lookup import Filters, Place, look_up
from inductory_store.catalog.migrate import upgrade
from inductory_store.catalog.repeats import REPEATS_MAX
from inductory_store.catalog.tables import metadata
from inductory_store.operations.ahead import AHEAD_MAX
from inductory_store.operations.bundle import open_bundle
from inductory_store.operations.explain import VALUE_CHARS_MAX
from inductory_store.operations.get_blob import DIRECT_BYTES_MIN
from inductory_store.operations.lookup import lookup
from inductory_store.operations.missing_blobs import missing_blobs
from inductory_store.operations.overview import overview
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.operations.put_blob import put_blob
from inductory_store.operations.put_build import put_build
from inductory_store.operations.put_manifest import put_manifest
from inductory_store.operations.read_agreement import read_agreement
from inductory_store.operations.read_build import list_builds
from inductory_store.operations.record_events import record_events
from inductory_store.operations.resolve import ResolvedRecords, resolve
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from msgspec import structs
from sqlalchemy import event
from store_messages import TARGET, artifact, build, descriptor, manifest, sign
from store_process import Database

NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Iterator[Store]:
    settings = StoreSettings.load(database, data_dir=tmp_path)
    catalog = Catalog(settings.catalog_url)
    upgrade(catalog.engine)
    yield Store(settings, catalog, MemoryBlobs(), clock=lambda: NOW)
    catalog.close()


def queries(store: Store, operate: Callable[[], object]) -> int:
    """Count the statements that `operate` takes, but for the beginnings of transactions."""
    seen: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(store.catalog.engine, "before_cursor_execute", note)
    operate()
    event.remove(store.catalog.engine, "before_cursor_execute", note)
    return len(seen)


def whole_bundle(store: Store, key: str) -> bytes:
    """Return a build's bundle, gathered anew."""
    store.answers.forget()
    found = open_bundle(store, "default", key)
    return found if isinstance(found, bytes) else b"".join(found)


def publish(store: Store, count: int) -> tuple[list[str], str]:
    """Publish a build of `count` artifacts; return their keys and the build's."""
    values = []
    for at in range(count):
        data = b"piece %d" % at
        put_blob(store, digest_of(data), len(data), [pack(data)], packed=True)
        values.append(artifact([descriptor(data)], f"graph {at}"))
        publish_artifact(store, "default", values[-1].key, values[-1])
    captured = [manifest(values, f"outer {at}") for at in range(3)]
    for each in captured:
        put_manifest(store, "default", each.id, each)
    start = build(captured, "default")
    put_build(store, "default", start.key, start)
    return [value.key for value in values], start.key


@pytest.mark.parametrize("count", [2, 40])
def test_reading_takes_a_constant_number_of_queries(store: Store, count: int) -> None:
    keys, build_key = publish(store, count)
    digests = tuple(digest_of(b"%d" % at) for at in range(count))
    assert queries(store, lambda: missing_blobs(store, wire.BlobsWanted(digests=digests))) == 1
    wanted = tuple(wire.ArtifactWanted(key=key) for key in keys)
    unknown = tuple(
        wire.ArtifactWanted(key=digest, graph_digest=digest_of(b"graph %d" % at))
        for at, digest in enumerate(digests)
    )
    asked = wire.Resolve(artifacts=wanted + unknown, target=TARGET)
    resolved: list[wire.Resolved] = []
    # A few are asked for in one query, many in two; what is missed costs two more.
    expected = 3 if count == 2 else 4
    assert queries(store, lambda: resolved.append(resolve(store, "default", asked))) == expected
    assert (len(resolved[0].hits), len(resolved[0].misses), len(resolved[0].blobs)) == (count, count, count)
    assert all(miss.nearest is not None for miss in resolved[0].misses)
    assert queries(store, lambda: lookup(store, Filters(namespace="default"), None, 100)) == 1
    assert queries(store, lambda: list_builds(store, "default", None, 100)) == 2
    assert queries(store, lambda: whole_bundle(store, build_key)) == 5
    assert queries(store, lambda: overview(store)) == 8


def test_writing_takes_a_constant_number_of_queries(store: Store) -> None:
    data = b"payload"
    put_blob(store, digest_of(data), len(data), [pack(data)], packed=True)
    counts = []
    for count in (3, 60):
        values = [artifact([descriptor(data)], f"{count} {at}") for at in range(count)]
        for each in values:
            publish_artifact(store, "default", each.key, each)
        captured = manifest(values)
        counts.append(
            queries(store, lambda captured=captured: put_manifest(store, "default", captured.id, captured))
        )
    assert counts[0] == counts[1]


def test_events_are_forgotten_after_their_days(store: Store) -> None:
    def post(at: float, count: int) -> int:
        sent = wire.Events(events=(wire.Event(kind="hit", at=at, count=count),))
        return record_events(replace(store, clock=lambda: at), "default", sent).stored

    assert post(NOW, 5) == post(NOW, 6) == 1
    assert overview(store).day.hits == 11
    assert overview(store).day.hours[-1].hits == 11
    later = replace(store, clock=lambda: NOW + 24 * 3600)
    assert overview(later).day.hits == 0
    post(NOW + 31 * 86400, 1)
    assert overview(store).day.hits == 1, "a month later, only what came since is left"


def test_compiles_of_one_key_are_counted(store: Store) -> None:
    for data in (b"one", b"two"):
        put_blob(store, digest_of(data), len(data), [pack(data)], packed=True)
    published = ((b"one", 1.0), (b"one", 1.0), (b"one", 2.0), (b"two", 1.0), (b"one", 3.0))
    for data, seconds in published * 2:  # twice, since what is sent again is counted once
        value = artifact([descriptor(data)], compile_seconds=seconds)
        publish_artifact(store, "default", value.key, value)
    agreement = read_agreement(store, "default", value.key)
    assert (agreement.reproduced, agreement.different) == (2, 1)
    totals = overview(store).totals
    assert (totals.artifacts, totals.agreed, totals.disagreed) == (1, 0, 1)


def test_no_more_compiles_of_one_key_are_kept_than_their_bound(store: Store) -> None:
    for data in (b"one", b"two"):
        put_blob(store, digest_of(data), len(data), [pack(data)], packed=True)
    for at in range(REPEATS_MAX + 5):
        for data in (b"one", b"two"):
            value = artifact([descriptor(data)], compile_seconds=float(at))
            publish_artifact(store, "default", value.key, value)
    agreement = read_agreement(store, "default", value.key)
    assert (agreement.reproduced, agreement.different) == (REPEATS_MAX, REPEATS_MAX)
    assert len(agreement.repeats) == 2 * REPEATS_MAX


def test_what_replaces_lost_bytes_is_compared_anew(store: Store) -> None:
    for data in (b"one", b"two"):
        put_blob(store, digest_of(data), len(data), [pack(data)], packed=True)
    first, second = (artifact([descriptor(data)]) for data in (b"one", b"two"))
    for value in (first, second):
        publish_artifact(store, "default", value.key, value)
    with store.catalog.write() as connection:
        mark_damaged(connection, digest_of(b"one"))
    assert publish_artifact(store, "default", second.key, second).outcome == "created"
    agreement = read_agreement(store, "default", second.key)
    assert (agreement.reproduced, agreement.different, agreement.repeats) == (0, 0, ())


def test_an_answer_of_many_blobs_stays_within_its_bound(store: Store) -> None:
    bounded = replace(store, settings=replace(store.settings, inline_bytes_total_max=100))
    keys, _ = publish(bounded, 10)
    asked = wire.Resolve(artifacts=tuple(wire.ArtifactWanted(key=key) for key in keys))
    resolved = resolve(bounded, "default", asked)
    assert len(resolved.hits) == 10
    assert 0 < len(resolved.blobs) < 10
    assert sum(map(len, resolved.blobs.values())) <= 100


def test_a_bundle_is_the_same_twice(store: Store) -> None:
    _, key = publish(store, 5)
    first = whole_bundle(store, key)
    assert first == whole_bundle(store, key)
    assert len(list(read_frames(io.BytesIO(first), 1 << 20))) == 6


class MeetingBlobs(MemoryBlobs):
    """Blobs that are given only when several are asked for at once."""

    def __init__(self) -> None:
        super().__init__()
        self._meeting = threading.Barrier(AHEAD_MAX, timeout=60)

    def open(self, digest: str) -> BinaryIO:
        self._meeting.wait()
        return super().open(digest)


def test_a_bundle_and_an_answer_read_several_blobs_at_once(store: Store) -> None:
    meeting = replace(store, blobs=MeetingBlobs())
    keys, build_key = publish(meeting, AHEAD_MAX)
    frames = list(read_frames(io.BytesIO(whole_bundle(meeting, build_key)), 1 << 20))
    assert len(frames) == AHEAD_MAX + 1
    asked = wire.Resolve(artifacts=tuple(wire.ArtifactWanted(key=key) for key in keys))
    assert len(resolve(meeting, "default", asked).blobs) == AHEAD_MAX


class ElsewhereBlobs(MemoryBlobs):
    """Blobs that readers can fetch from where they are kept."""

    def direct_url(self, digest: str) -> str:
        return f"https://bucket.example/cas/sha256/{digest[:2]}/{digest}.zst?signed"


def test_readers_of_large_zstd_frames_are_sent_to_where_they_are(tmp_path: Path) -> None:
    settings = StoreSettings(data_dir=tmp_path)
    app = create_app(settings, ElsewhereBlobs())
    upgrade(app.state.store.catalog.engine)
    large, small = random.Random(1).randbytes(DIRECT_BYTES_MIN), b"kept elsewhere"
    for data in (large, small):
        put_blob(app.state.store, digest_of(data), len(data), [pack(data)], packed=True)

    async def ask(method: str, data: bytes, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://store") as http:
            return await http.request(method, f"/v1/blobs/{digest_of(data)}", headers=headers)

    packed = {"Accept-Encoding": "zstd"}
    direct = asyncio.run(ask("GET", large, **packed))
    assert direct.status_code == 307
    assert direct.headers["location"] == ElsewhereBlobs().direct_url(digest_of(large))
    assert direct.headers["cache-control"] == "no-store"
    assert direct.headers["vary"] == "Accept-Encoding"
    assert "etag" not in direct.headers
    # Who has it needs no address, and an address is good for GET only.
    etag = f'"{digest_of(large)}.zst"'
    assert asyncio.run(ask("GET", large, **packed, **{"If-None-Match": etag})).status_code == 304
    assert asyncio.run(ask("HEAD", large, **packed)).headers["etag"] == etag
    # What isn't the whole zstd frame is read through the store, and so is what is soon read.
    part = asyncio.run(ask("GET", large, **packed, Range="bytes=5-9"))
    assert (part.status_code, part.content) == (206, large[5:10])
    plain = asyncio.run(ask("GET", large, **{"Accept-Encoding": "identity"}))
    assert (plain.status_code, plain.content) == (200, large)
    assert asyncio.run(ask("GET", small, **packed)).status_code == 200
    app.state.store.catalog.close()


def test_explaining_misses_never_makes_more_than_a_message(store: Store) -> None:
    """A request of half a megabyte must not be answered with hundreds."""
    data = b"payload"
    put_blob(store, digest_of(data), len(data), [pack(data)], packed=True)
    there = artifact([descriptor(data)], "graph", target=Target({"a": "v" * 3900}))
    publish_artifact(store, "default", there.key, there)
    ours = Target({f"factor {at:03}": "w" * 3900 for at in range(100)})
    graph = digest_of(b"graph")
    wanted = [wire.ArtifactWanted(key=digest_of(b"%d" % at), graph_digest=graph) for at in range(1000)]
    resolved = resolve(store, "default", wire.Resolve(artifacts=tuple(wanted), target=ours))
    assert len(wire.encode(resolved)) <= 2 << 20
    assert len(resolved.misses) == 1000
    first, last = resolved.misses[0], resolved.misses[-1]
    assert first.nearest is not None
    assert len(first.nearest.differences) == wire.DIFFERENCES_MAX
    told = first.nearest.differences[0]
    assert (told.name, told.ours) == ("a", None)
    assert told.theirs is not None
    assert len(told.theirs) == VALUE_CHARS_MAX
    assert last.nearest is None, "what doesn't fit is left out"


def test_artifacts_that_fit_no_answer_are_refused_while_they_are_read(store: Store) -> None:
    keys, _ = publish(store, 5)
    with store.catalog.read() as connection:
        records = artifact_records(connection, "default", keys, bytes_max=1 << 20)
        assert set(records) == set(keys)
        with pytest.raises(TooLarge):
            artifact_records(connection, "default", keys, bytes_max=sum(map(len, records.values())) - 1)


def plans(store: Store, filters: Filters, after: Place | None) -> str:
    """Return how SQLite goes about a page of the lookup."""
    seen: list[tuple[str, object]] = []

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        seen.append((statement, parameters))

    event.listen(store.catalog.engine, "before_cursor_execute", note)
    with store.catalog.read() as connection:
        look_up(connection, filters, after, 100)
    event.remove(store.catalog.engine, "before_cursor_execute", note)
    statement, parameters = seen[-1]
    with store.catalog.read() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
        return "\n".join(row[3] for row in rows)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("model", [None, "a model"])
def test_a_page_of_the_lookup_is_read_along_an_index(store: Store, model: str | None) -> None:
    """A page must cost the same wherever it is: no table is scanned, and no more than a page is sorted."""
    publish(store, 3)
    filters = Filters(namespace="default", model=model)
    with store.catalog.read() as connection:
        place = look_up(connection, filters, None, 2)[1][0]
    for after in (None, place):
        plan = plans(store, filters, after)
        assert "SEARCH build_entry USING COVERING INDEX" in plan
        for table in metadata.tables:
            assert f"SCAN {table}\n" not in f"{plan}\n"
            assert f"SCAN {table} " not in plan


def test_a_build_whose_index_is_too_long_for_a_bundle_is_refused(store: Store) -> None:
    data = b"payload"
    put_blob(store, digest_of(data), len(data), [pack(data)], packed=True)
    values = []
    for at in range(22):
        plain = artifact([descriptor(data)], f"graph {at}").subject
        subject = structs.replace(plain, options={f"option {each}": "v" * 4000 for each in range(200)})
        whole = structs.replace(artifact([descriptor(data)]), subject=subject, signature=sign(subject))
        values.append(whole)
        publish_artifact(store, "default", whole.key, whole)
    captured = manifest(values)
    put_manifest(store, "default", captured.id, captured)
    start = build([captured], "default")
    put_build(store, "default", start.key, start)
    with pytest.raises(TooLarge):
        open_bundle(store, "default", start.key)


def test_what_is_answered_as_it_is_kept_has_all_that_clients_read() -> None:
    assert ResolvedRecords.__struct_fields__ == wire.Resolved.__struct_fields__
