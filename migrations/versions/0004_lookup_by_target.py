"""The lookup by a target alone: artifacts of a target in the order of their keys."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_artifact_target_namespace_key", "artifact", ["target", "namespace", "key"])
    op.drop_index("ix_artifact_target", table_name="artifact")


def downgrade() -> None:
    op.create_index("ix_artifact_target", "artifact", ["target"])
    op.drop_index("ix_artifact_target_namespace_key", table_name="artifact")
