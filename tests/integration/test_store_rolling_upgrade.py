"""The last release's store goes on working while a newer one migrates the database under it.

That is how a fleet is upgraded: one store after the other, on one catalog.
"""

from __future__ import annotations

import io
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
from alembic.script import ScriptDirectory
from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.blob import pack
from inductory_client.contract.build import Build
from inductory_client.contract.bundle import read_frames
from inductory_client.contract.descriptor import PYTHON
from inductory_client.contract.digest import digest_of
from inductory_client.contract.manifest import BLUEPRINT, Manifest
from inductory_client.transport import HttpStore
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.migrate import alembic_config, is_current, migrations_folder, upgrade
from inductory_store.settings import StoreSettings
from msgspec.structs import replace
from store_messages import Talk, artifact, build, descriptor, manifest
from store_process import Database, StoreProcess

T = TypeVar("T")

ROUNDS = {"sqlite": 1, "postgresql+psycopg": 12}
"""After twelve, PostgreSQL has every statement prepared and planned for good: what a migration changes then
fails where it would not have failed at first."""


@pytest.fixture
def address(new_database: Database) -> Database:
    """The same database in words that the release understands, too."""
    return {name: url.replace("postgresql://", "postgresql+psycopg://") for name, url in new_database.items()}


@pytest.fixture
def settings(tmp_path: Path, address: Database) -> StoreSettings:
    return StoreSettings.load(address, data_dir=tmp_path / "store")


@pytest.fixture
def old(
    tmp_path: Path, address: Database, settings: StoreSettings, release: dict[str, str]
) -> Iterator[Talk]:
    """A store of the last release that runs, has made its tables, and has used them for a while."""
    with StoreProcess(tmp_path / "store", address | release) as store:
        talk = Talk(store.url, "default")
        assert read_status(talk).version == "0.1.0"
        for at in range(ROUNDS[settings.catalog_url.partition(":")[0]]):
            use(talk, f"before {at}")
        yield talk
        talk.http.close()


def use(talk: Talk, name: str) -> None:
    """Do all that a store does, and find that it was done."""
    data, source = name.encode() * 50, b"# " + name.encode()
    talk.put_blob(source)
    piece, dispatch = talk.publish(data, name), talk.publish_dispatch(data, name)
    talk.put_blob(data + b"!")
    again = talk.put_artifact(artifact([descriptor(data + b"!")], name))
    assert again.status_code == 200, again.text
    assert wire.decode(again.content, wire.Published).outcome == "different"
    captured = manifest([piece], name, documents=(descriptor(source, PYTHON, BLUEPRINT),))
    assert talk.put_manifest(captured).status_code == 201
    start = build([captured], "default", name)
    assert talk.put_build(start).status_code == 201
    more = replace(start, entries=(replace(start.entries[0], dispatch=dispatch.key),))
    assert wire.decode(talk.put_build(more).content, wire.BuildStored).entries == 2
    events = wire.Events(events=(wire.Event(kind="load", at=time.time(), artifact=piece.key),))
    assert talk.http.post("/v1/events", content=wire.encode(events)).status_code == 200
    check(talk, name)


def check(talk: Talk, name: str) -> None:
    """Find what `use` published under a name, perhaps at another store."""
    data = name.encode() * 50
    piece, unknown = artifact([descriptor(data)], name), artifact([descriptor(data)], name, shape=7)
    resolved = talk.resolve(piece.key)
    assert resolved.hits[0].subject == piece.subject
    wanted = wire.ArtifactWanted(key=unknown.key, graph_digest=digest_of(name.encode()))
    asked = wire.encode(wire.Resolve(artifacts=(wanted,), target=piece.subject.target))
    (miss,) = wire.decode(
        talk.http.post("/v1/artifacts:resolve", content=asked).content, wire.Resolved
    ).misses
    assert miss.nearest is not None
    assert read(talk, f"artifacts/{piece.key}", Artifact).subject == piece.subject
    assert read(talk, f"artifacts/{piece.key}/agreement", wire.Agreement).different == 1
    found = read(talk, "artifacts", wire.LookupPage, model=name).entries
    assert {entry.artifact for entry in found} >= {piece.key}
    start = build([], "default", name)
    (captured,) = {entry.manifest for entry in read(talk, f"builds/{start.key}", Build).entries}
    assert read(talk, f"manifests/{captured}", Manifest).entries[0].artifact == piece.key
    assert read(talk, "builds", wire.BuildPage, limit=1).builds
    bundle = talk.http.get(f"/v1/builds/{start.key}/bundle").content
    assert digest_of(data) in {digest for digest, _, _ in read_frames(io.BytesIO(bundle), 1 << 20)}
    document = talk.http.get(f"/v1/builds/{start.key}/documents/{captured}/{BLUEPRINT}")
    assert document.content == b"# " + name.encode()
    assert talk.http.get(f"/v1/blobs/{digest_of(data)}").content == data
    missing = wire.BlobsWanted(digests=(digest_of(data), "00" * 32))
    answer = talk.http.post("/v1/blobs:missing", content=wire.encode(missing))
    assert wire.decode(answer.content, wire.BlobsMissing).missing == ("00" * 32,)
    assert read(talk, "stats", wire.Stats).disagreed > 0
    assert talk.http.get("/").status_code == 200


def read(talk: Talk, address: str, message_type: type[T], **query: object) -> T:
    answer = talk.http.get(f"/v1/{address}", params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return wire.decode(answer.content, message_type)


def test_the_last_release_goes_on_beside_todays_store(
    old: Talk, tmp_path: Path, address: Database, settings: StoreSettings
) -> None:
    with closing(Catalog(settings.catalog_url)) as catalog:
        upgrade(catalog.engine)
        with catalog.read() as connection:
            assert is_current(connection)
    check(old, "before 0")
    use(old, "after")
    with StoreProcess(tmp_path / "store", address) as store:
        new = Talk(store.url, "default")
        for name in ("before 0", "after"):
            check(new, name)
        use(new, "by the new one")
        check(old, "by the new one")
        use(old, "beside the new one")
        check(new, "beside the new one")
        new.http.close()


def test_todays_client_sends_the_last_releases_store_what_is_large(old: Talk) -> None:
    """It knows no other way than by itself."""
    large = random.Random("an older store").randbytes(2 << 20)
    with closing(HttpStore(old.url)) as client:
        assert client.put_blob(digest_of(large), large) == len(pack(large))
        assert client.get_blob(digest_of(large), len(large)) == large


_NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "next", "{head}", None, None


def upgrade():
    {upgrade}
"""
EXPANDING = """
    op.add_column("artifact", sa.Column("more", sa.BigInteger()))
    op.create_table("another", sa.Column("key", sa.String(64), primary_key=True))
    op.create_index("ix_artifact_more", "artifact", ["more"])
"""
CONTRACTING = """
    with op.batch_alter_table("repeat") as batch:
        batch.drop_column("builder")
"""


def migrate_further(tmp_path: Path, settings: StoreSettings, change: str) -> None:
    """Apply today's migrations, and one that doesn't exist yet."""
    folder = tmp_path / "later"
    shutil.copytree(migrations_folder(), folder)
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    (folder / "versions" / "9999_next.py").write_text(_NEXT.format(head=head, upgrade=change.strip()))
    with closing(Catalog(settings.catalog_url)) as catalog:
        upgrade(catalog.engine, "head", folder)


def test_a_migration_that_expands_leaves_a_running_store_at_work(
    old: Talk, tmp_path: Path, settings: StoreSettings
) -> None:
    migrate_further(tmp_path, settings, EXPANDING)
    check(old, "before 0")
    use(old, "after")


def test_one_that_contracts_is_noticed_here(old: Talk, tmp_path: Path, settings: StoreSettings) -> None:
    """So that the other tests could fail."""
    migrate_further(tmp_path, settings, CONTRACTING)
    with pytest.raises(AssertionError):
        use(old, "after")


def test_a_store_that_runs_is_ready_on_a_newer_schema(
    tmp_path: Path, address: Database, settings: StoreSettings
) -> None:
    """All would be taken out of service at once, by the first of the newer ones."""
    with StoreProcess(tmp_path / "store", address) as store:
        migrate_further(tmp_path, settings, EXPANDING)
        talk = Talk(store.url, "default")
        assert read_status(talk).status == "ok"
        use(talk, "after")
        talk.http.close()
    with pytest.raises(RuntimeError, match="has the schema next"):
        StoreProcess(tmp_path / "store", address)


def read_status(talk: Talk) -> wire.Status:
    return wire.decode(talk.http.get("/readyz").content, wire.Status)
