"""Lifetimes: when things were last used, what awaits deletion, roots, and rules by namespace."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_USED = ("artifact", "manifest", "build")


def upgrade() -> None:
    for table in _USED:
        op.add_column(table, sa.Column("used_at", sa.Double()))
    for table in (*_USED, "blob"):
        op.add_column(table, sa.Column("condemned_at", sa.Double()))
    op.create_index("ix_build_entry_namespace_dispatch", "build_entry", ["namespace", "dispatch"])
    op.create_table(
        "root",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.PrimaryKeyConstraint("namespace", "kind", "key", name="pk_root"),
    )
    op.create_table(
        "retention",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("unused_days", sa.Integer()),
        sa.Column("bytes_max", sa.BigInteger()),
        sa.PrimaryKeyConstraint("namespace", name="pk_retention"),
    )


def downgrade() -> None:
    op.drop_table("retention")
    op.drop_table("root")
    op.drop_index("ix_build_entry_namespace_dispatch", table_name="build_entry")
    for table in (*_USED, "blob"):
        op.drop_column(table, "condemned_at")
    for table in _USED:
        op.drop_column(table, "used_at")
