"""Collecting what nobody needs, on real places: what goes, when, and what is rescued."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from inductory_client.cli.main import main
from inductory_client.contract.build import BuildEntry
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import ArtifactMissing, NotFound
from inductory_client.contract.lifetime import RootWanted
from inductory_store.catalog.lifetimes import TABLES, key_of
from inductory_store.catalog.lookup import Filters
from inductory_store.operations.bundle import open_bundle
from inductory_store.operations.collect import collect
from inductory_store.operations.get_blob import find_blob
from inductory_store.operations.lookup import lookup
from inductory_store.operations.note_uses import note_uses
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.operations.put_build import put_build
from inductory_store.operations.put_manifest import put_manifest
from inductory_store.operations.read_artifact import read_artifact
from inductory_store.operations.roots import add_root, remove_root
from inductory_store.operations.scrub import scrub
from inductory_store.serve import migrate, opened
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from lifetimes import DAY, NOW, Later, at_rest, gc, is_there, keep_days, publish, put
from msgspec import structs
from sqlalchemy import select, update
from store_messages import Talk, artifact, build, descriptor, manifest
from store_process import Database, StoreProcess


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> StoreSettings:
    settings = StoreSettings.load(database, data_dir=tmp_path / "data")
    migrate(settings)
    return settings


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.fixture
def store(settings: StoreSettings, clock: Later, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with opened(settings) as opened_store:
        store = replace(opened_store, clock=clock)
        # PostgreSQL has a clock of its own, which no test moves.
        for module in ("note_uses", "roots"):
            monkeypatch.setattr(f"inductory_store.operations.{module}.database_time", lambda *_: clock())
        yield store


def test_nothing_goes_without_a_rule(store: Store, clock: Later) -> None:
    key, _, start = publish(store, "old")
    gc(store, clock.after(days=3000))
    found = gc(store, clock.after(days=3000))
    assert found.names[0].condemn == found.names[0].drop == ()
    assert found.blobs.condemn == found.blobs.delete == ()
    assert is_there(store, key)
    assert open_bundle(store, "default", start)


def test_what_nobody_uses_is_condemned_dropped_and_its_bytes_deleted(store: Store, clock: Later) -> None:
    publish(store, "old")
    clock.after(days=20)
    new, _, _ = publish(store, "new")
    keep_days(store, 30)
    before = at_rest(store)
    dry = collect(store, clock.after(days=11), dry_run=True)
    assert [each.kind for each in dry.names[0].condemn] == ["build", "manifest", "artifact"]
    assert collect(store, clock.now, dry_run=True) == dry, "a dry run changes nothing"
    first = gc(store, clock.now)
    assert (first.names, first.blobs) == (dry.names, dry.blobs)
    assert gc(store, clock.now).names[0].condemn == (), "once"
    assert gc(store, clock.after(days=0.9)).names[0].drop == ()
    third = gc(store, clock.after(days=0.2))
    assert [each.kind for each in third.names[0].drop] == ["build", "manifest", "artifact"]
    old = digest_of(b"old" * 100)
    assert third.blobs.condemn == (old,)
    assert at_rest(store) == before, "whoever was told of it still reads it"
    assert find_blob(store, old).size == 300
    last = gc(store, clock.after(days=1))
    assert (last.blobs.delete, last.blobs.deleted_bytes > 0) == ((old,), True)
    assert at_rest(store) == before - {old}
    with pytest.raises(NotFound):
        find_blob(store, old)
    assert is_there(store, new)
    assert scrub(store).found == ()
    assert [each.artifact for each in lookup(store, Filters(namespace="default"), None, 10).entries] == [new]


def test_what_is_used_in_its_grace_is_rescued_at_once(store: Store, clock: Later) -> None:
    key, _, _ = publish(store, "old")
    keep_days(store, 30)
    gc(store, clock.after(days=31))
    assert is_there(store, key), "what is condemned is served"
    assert note_uses(store) == 1
    found = gc(store, clock.after(days=2))
    assert found.names[0].drop == ()
    # Who asked for all of a build has used the build.
    assert sorted(each.kind for each in found.names[0].rescue) == ["build", "manifest"]
    assert gc(store, clock.after(days=27)).names[0].condemn == ()


def test_what_is_published_again_in_its_grace_is_kept(store: Store, clock: Later) -> None:
    key, _, start = publish(store, "old")
    keep_days(store, 30)
    gc(store, clock.after(days=31))
    clock.after(days=2)
    publish(store, "old")
    assert gc(store, clock.now).names[0].drop == ()
    assert is_there(store, key)
    assert open_bundle(store, "default", start)


def test_a_bundle_counts_as_a_use_and_uses_are_written_rarely(store: Store, clock: Later) -> None:
    _, _, start = publish(store, "old")
    clock.after(days=5)
    for _ in range(3):
        open_bundle(store, "default", start)
        store.answers.forget()
    assert note_uses(store) == 1
    other = replace(store, uses=type(store.uses)())
    open_bundle(other, "default", start)
    assert note_uses(other) == 0, "another process wrote it just now"
    keep_days(store, 30)
    assert gc(store, clock.after(days=29)).names[0].condemn == ()
    assert len(gc(store, clock.after(days=2)).names[0].condemn) == 3


@pytest.mark.parametrize("kind", ["artifact", "manifest", "build"])
def test_a_root_keeps_what_it_names_until_it_is_gone(store: Store, clock: Later, kind: str) -> None:
    keys = dict(zip(("artifact", "manifest", "build"), publish(store, "old"), strict=True))
    keep_days(store, 30, bytes_max=0)
    add_root(store, "default", kind, keys[kind], RootWanted(label="production"))  # type: ignore[arg-type]
    for _ in range(4):
        found = gc(store, clock.after(days=31))
    assert is_there(store, keys["artifact"])
    assert found.names[0].over_bytes > 0
    left = {"artifact": 1, "manifest": 2, "build": 3}[kind]
    remove_root(store, "default", kind, keys[kind])  # type: ignore[arg-type]
    assert len(gc(store, clock.after(days=31)).names[0].condemn) == left
    gc(store, clock.after(days=1))
    gc(store, clock.after(days=1))
    assert at_rest(store) == set()


def test_a_root_that_is_added_between_plan_and_drop_keeps(
    store: Store, clock: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _, start = publish(store, "old")
    keep_days(store, 30)
    gc(store, clock.after(days=31))

    def planned(text: str) -> None:
        if "dropping 1 of" in text:
            add_root(store, "default", "build", start, RootWanted())

    found = collect(store, clock.after(days=2), dry_run=False, progress=planned)
    assert found.names[0].drop == ()
    assert is_there(store, key)
    assert len(gc(store, clock.now).names[0].rescue) == 2, "with all that it names"


def test_an_expired_root_keeps_nothing(store: Store, clock: Later) -> None:
    key, _, _ = publish(store, "old")
    keep_days(store, 30)
    add_root(store, "default", "artifact", key, RootWanted(expires_in_s=40 * DAY))
    assert len(gc(store, clock.after(days=31)).names[0].condemn) == 2
    assert len(gc(store, clock.after(days=10)).names[0].condemn) == 1


def test_the_least_recently_used_goes_under_a_quota(store: Store, clock: Later) -> None:
    for name in ("one", "two", "three"):
        publish(store, name)
        clock.after(days=1)
    found = collect(store, clock.now, dry_run=True)
    keep_days(store, None, bytes_max=found.names[0].kept_bytes - 1)
    found = collect(store, clock.now, dry_run=True)
    one = artifact([descriptor(b"one" * 100)], "one").key
    assert [each.key for each in found.names[0].condemn if each.kind == "artifact"] == [one]
    assert {each.why for each in found.names[0].condemn} == {"quota"}


def test_what_names_what_was_dropped_is_refused(store: Store, clock: Later) -> None:
    publish(store, "old")
    keep_days(store, 1)
    for _ in range(3):
        gc(store, clock.after(days=2))
    value = artifact([descriptor(b"old" * 100)], "old")
    captured = manifest([value], "another")
    with pytest.raises(ArtifactMissing):
        put_manifest(store, "default", captured.id, captured)
    start = structs.replace(build([], "default"), entries=(BuildEntry(name="f", manifest=captured.id),))
    with pytest.raises(ArtifactMissing):
        put_build(store, "default", start.key, start)
    with pytest.raises(NotFound):
        read_artifact(store, "default", value.key)
    publish(store, "old")
    assert is_there(store, value.key)


def test_an_artifact_that_outlives_its_manifest_is_found_alone(store: Store, clock: Later) -> None:
    values = [artifact([descriptor(data)], data.decode()) for data in (b"one", b"two")]
    for value, data in zip(values, (b"one", b"two"), strict=True):
        put(store, data)
        publish_artifact(store, "default", value.key, value)
    captured = manifest(values)
    put_manifest(store, "default", captured.id, captured)
    keep_days(store, 30)
    clock.after(days=31)
    assert is_there(store, values[0].key)
    note_uses(store)
    gc(store, clock.now)
    found = gc(store, clock.after(days=1))
    assert [each.kind for each in found.names[0].drop] == ["manifest", "artifact"]
    (entry,) = lookup(store, Filters(namespace="default"), None, 10).entries
    assert (entry.artifact, entry.manifest) == (values[0].key, None)


def test_a_store_that_is_asked_to_end_notes_what_was_used(
    database: Database, settings: StoreSettings, store: Store, clock: Later
) -> None:
    key, _, start = publish(store, "old")  # years from now
    before = (uses_of(store, "artifact", key), uses_of(store, "build", start))
    assert before == (None, None)
    clock.now = NOW - 1000 * DAY
    with store.catalog.write() as connection:
        for table in TABLES.values():
            connection.execute(update(table).values(created_at=clock.now))
    with StoreProcess(settings.data_dir, database) as process:
        talk = Talk(process.url, "default")
        for _ in range(3):
            assert talk.resolve(key).hits
            assert talk.http.get(f"/v1/builds/{start}/bundle").is_success
        talk.http.close()
    for kind, name in (("artifact", key), ("build", start)):
        assert (uses_of(store, kind, name) or 0.0) > clock.now


def uses_of(store: Store, kind: str, key: str) -> float | None:
    table = TABLES[kind]  # type: ignore[index]
    with store.catalog.read() as connection:
        found: float | None = connection.scalar(select(table.c.used_at).where(key_of(table) == key))
        return found


@pytest.fixture
def command(
    settings: StoreSettings,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    for name, text in database.items():
        monkeypatch.setenv(name, text)

    def run(*arguments: str) -> tuple[int, str]:
        code = main([*arguments, "--data-dir", str(settings.data_dir)])
        return code, capsys.readouterr().out

    return run


def test_the_command_prints_the_plan_and_does_it(
    store: Store, command: Callable[..., tuple[int, str]]
) -> None:
    publish(store, "old")
    keep_days(store, None, bytes_max=0)
    put(store, b"never named")
    code, text = command("gc", "--dry-run")
    assert code == 0
    assert "quota" in text
    assert "Nothing was done" in text
    code, text = command("gc", "--dry-run", "--json")
    planned = json.loads(text)
    assert not planned["done"]
    assert [each["kind"] for each in planned["names"][0]["condemn"]] == ["build", "manifest", "artifact"]
    assert planned["blobs"]["condemn"] == [digest_of(b"never named")]
    code, text = command("gc", "--json")
    assert (code, json.loads(text)) == (0, {**planned, "done": True})
    code, text = command("gc")
    assert (code, "condemned  0 names" in text) == (0, True)
