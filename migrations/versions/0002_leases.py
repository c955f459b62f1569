"""Leases, and compiles that failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lease",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "key", name="pk_lease"),
    )
    op.create_index("ix_lease_expires_at", "lease", ["expires_at"])
    op.create_table(
        "compile_failure",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(400), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "key", name="pk_compile_failure"),
    )
    op.create_index("ix_compile_failure_retry_at", "compile_failure", ["retry_at"])


def downgrade() -> None:
    op.drop_index("ix_compile_failure_retry_at", table_name="compile_failure")
    op.drop_table("compile_failure")
    op.drop_index("ix_lease_expires_at", table_name="lease")
    op.drop_table("lease")
