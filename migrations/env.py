"""Runs the migrations on the connection that `inductory_store.catalog.migrate` passes."""

from __future__ import annotations

from alembic import context
from inductory_store.catalog.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can't alter most of a table in place; Alembic makes a new one and moves the rows.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
