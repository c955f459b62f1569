"""The migrations make the tables that the code works with."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.migrate import downgrade, is_current, upgrade
from inductory_store.catalog.tables import metadata
from inductory_store.serve import migrate
from inductory_store.settings import StoreSettings
from sqlalchemy import Engine, inspect


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite3'}")
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
    columns = {name: {each["name"] for each in inspect(engine).get_columns(name)} for name in metadata.tables}
    for table in ("artifact", "manifest", "manifest_entry", "build", "build_entry", "event_minute"):
        assert "namespace" in columns[table]
    assert "scheme" in columns["artifact"] & columns["manifest"]
    assert "component" in columns["build"]


def test_processes_that_start_together_take_turns(tmp_path: Path) -> None:
    settings = StoreSettings(data_dir=tmp_path)
    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(migrate, settings) for _ in range(4)]:
            each.result()
    catalog = Catalog(settings.catalog_url)
    with catalog.read() as connection:
        assert is_current(connection)
    catalog.close()
