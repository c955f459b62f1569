"""The migrations make the tables that the code works with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import StorageFailed
from inductory_store.blobs.memory import MemoryBlobs
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.migrate import (
    alembic_config,
    downgrade,
    is_current,
    migrations_folder,
    upgrade,
)
from inductory_store.catalog.tables import metadata
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.operations.put_blob import put_blob
from inductory_store.serve import migrate
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from sqlalchemy import Engine, func, inspect, select
from store_messages import artifact, descriptor
from store_process import Database


@pytest.fixture
def settings(tmp_path: Path, new_database: Database) -> StoreSettings:
    return StoreSettings.load(new_database, data_dir=tmp_path)


@pytest.fixture
def engine(settings: StoreSettings) -> Iterator[Engine]:
    catalog = Catalog(settings.catalog_url)
    yield catalog.engine
    catalog.close()


def test_the_head_equals_the_metadata(engine: Engine) -> None:
    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
        assert is_current(connection)


def test_up_down_and_up_again(engine: Engine) -> None:
    upgrade(engine)
    tables = set(inspect(engine).get_table_names())
    assert tables == set(metadata.tables) | {"alembic_version"}
    downgrade(engine, "base")
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    with engine.connect() as connection:
        assert not is_current(connection)
    upgrade(engine)
    upgrade(engine)
    assert set(inspect(engine).get_table_names()) == tables


def test_namespace_component_and_scheme_are_columns_from_the_start(engine: Engine) -> None:
    upgrade(engine, "0001")
    found = inspect(engine)
    columns = {name: {each["name"] for each in found.get_columns(name)} for name in found.get_table_names()}
    for table in ("artifact", "manifest", "manifest_entry", "build", "build_entry", "event_minute"):
        assert "namespace" in columns[table]
    assert "scheme" in columns["artifact"] & columns["manifest"]
    assert "component" in columns["build"]


def test_processes_that_start_together_take_turns(settings: StoreSettings) -> None:
    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(migrate, settings) for _ in range(4)]:
            each.result()
    catalog = Catalog(settings.catalog_url)
    with catalog.read() as connection:
        assert is_current(connection)
    catalog.close()


_ANEW = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "next", "{head}", None, None


def upgrade():
    with op.batch_alter_table("blob") as batch:
        batch.alter_column("state", type_=sa.String(32), existing_type=sa.String(16), nullable=False)
    op.execute("{extra}")


def downgrade():
    with op.batch_alter_table("blob") as batch:
        batch.alter_column("state", type_=sa.String(16), existing_type=sa.String(32), nullable=False)
"""


@pytest.fixture
def rows(engine: Engine, settings: StoreSettings) -> None:
    """An artifact and the blob that it refers to."""
    upgrade(engine)
    store = Store(settings, Catalog(settings.catalog_url), MemoryBlobs())
    data = b"payload"
    put_blob(store, digest_of(data), len(data), [pack(data)], packed=True)
    value = artifact([descriptor(data)])
    publish_artifact(store, "default", value.key, value)
    store.catalog.close()


def later(tmp_path: Path, extra: str) -> Path:
    """Migrations as they will be once one makes a table anew that others refer to."""
    folder = tmp_path / "later"
    shutil.copytree(migrations_folder(), folder)
    (folder / "versions" / "9999_next.py").write_text(_ANEW.format(head=head(), extra=extra))
    return folder


def head() -> str:
    return ScriptDirectory.from_config(alembic_config()).get_current_head() or ""


def counts(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [
            connection.scalar(select(func.count()).select_from(metadata.tables[name])) or 0
            for name in ("blob", "artifact", "artifact_blob", "target")
        ]


@pytest.mark.usefixtures("rows")
def test_a_table_that_others_refer_to_is_made_anew_with_its_rows(engine: Engine, tmp_path: Path) -> None:
    folder = later(tmp_path, "SELECT 1")
    upgrade(engine, "head", folder)
    assert counts(engine) == [1, 1, 1, 1]
    downgrade(engine, head(), folder)
    assert counts(engine) == [1, 1, 1, 1]
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1, "enforced again"


@pytest.mark.usefixtures("rows")
def test_a_migration_that_leaves_rows_without_what_they_refer_to_is_undone(
    engine: Engine, tmp_path: Path
) -> None:
    words = "refer to nothing" if engine.dialect.name == "sqlite" else "can't be opened or migrated"
    with pytest.raises(StorageFailed, match=words):
        upgrade(engine, "head", later(tmp_path, "DELETE FROM blob"))
    assert counts(engine) == [1, 1, 1, 1]
    with engine.connect() as connection:
        assert is_current(connection)
