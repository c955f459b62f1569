"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blob",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("packed_size", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blob"),
    )
    op.create_table(
        "event_minute",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("minute", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("saved_seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "minute", "kind", name="pk_event_minute"),
    )
    op.create_index("ix_event_minute_minute", "event_minute", ["minute"])

    op.create_table(
        "manifest",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("scheme", sa.String(32), nullable=False),
        sa.Column("graph_digest", sa.String(64), nullable=False),
        sa.Column("guards_digest", sa.String(64), nullable=False),
        sa.Column("submodules", sa.Integer(), nullable=False),
        sa.Column("built", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "id", name="pk_manifest"),
    )
    op.create_index("ix_manifest_namespace_built_id", "manifest", ["namespace", "built", "id"])

    op.create_table(
        "target",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_target"),
    )
    op.create_table(
        "artifact",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("scheme", sa.String(32), nullable=False),
        sa.Column("scheme_key", sa.String(512), nullable=True),
        sa.Column("graph_digest", sa.String(64), nullable=True),
        sa.Column("shape", sa.String(64), nullable=False),
        sa.Column("backend", sa.String(64), nullable=False),
        sa.Column("options", sa.LargeBinary(), nullable=False),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("signer", sa.String(64), nullable=False),
        sa.Column("compile_seconds", sa.Double(), nullable=True),
        sa.Column("payload", sa.String(64), nullable=False),
        sa.Column("payload_size", sa.Integer(), nullable=False),
        sa.Column("reproduced", sa.Integer(), server_default="0", nullable=False),
        sa.Column("different", sa.Integer(), server_default="0", nullable=False),
        sa.Column("used", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["target"], ["target.fingerprint"], name="fk_artifact_target"),
        sa.PrimaryKeyConstraint("namespace", "key", name="pk_artifact"),
    )
    op.create_index(
        "ix_artifact_namespace_graph_digest_created_at",
        "artifact",
        ["namespace", "graph_digest", "created_at"],
    )
    op.create_index(
        "ix_artifact_namespace_used_shape_backend_key",
        "artifact",
        ["namespace", "used", "shape", "backend", "key"],
    )
    op.create_index("ix_artifact_payload", "artifact", ["payload"])
    op.create_index("ix_artifact_target", "artifact", ["target"])

    op.create_table(
        "build",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("component", sa.String(128), nullable=False),
        sa.Column("model", sa.String(400), nullable=False),
        sa.Column("sources", sa.String(64), nullable=False),
        sa.Column("config", sa.String(64), nullable=False),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["target"], ["target.fingerprint"], name="fk_build_target"),
        sa.PrimaryKeyConstraint("namespace", "key", name="pk_build"),
    )
    op.create_index("ix_build_namespace_created_at_key", "build", ["namespace", "created_at", "key"])
    op.create_index("ix_build_namespace_model", "build", ["namespace", "model"])

    op.create_table(
        "manifest_blob",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("manifest", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(4096), nullable=False),
        sa.Column("media_type", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["blob.digest"], name="fk_manifest_blob_digest"),
        sa.ForeignKeyConstraint(
            ["namespace", "manifest"],
            ["manifest.namespace", "manifest.id"],
            name="fk_manifest_blob_namespace_manifest",
        ),
        sa.PrimaryKeyConstraint("namespace", "manifest", "role", "position", name="pk_manifest_blob"),
    )
    op.create_index("ix_manifest_blob_digest", "manifest_blob", ["digest"])

    op.create_table(
        "target_factor",
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("value", sa.String(4000), nullable=False),
        sa.ForeignKeyConstraint(["target"], ["target.fingerprint"], name="fk_target_factor_target"),
        sa.PrimaryKeyConstraint("target", "name", name="pk_target_factor"),
    )
    op.create_table(
        "artifact_blob",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("artifact", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("media_type", sa.String(128), nullable=False),
        sa.Column("name", sa.String(4096), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("loaded", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["blob.digest"], name="fk_artifact_blob_digest"),
        sa.ForeignKeyConstraint(
            ["namespace", "artifact"],
            ["artifact.namespace", "artifact.key"],
            name="fk_artifact_blob_namespace_artifact",
        ),
        sa.PrimaryKeyConstraint("namespace", "artifact", "position", name="pk_artifact_blob"),
    )
    op.create_index("ix_artifact_blob_digest", "artifact_blob", ["digest"])

    op.create_table(
        "repeat",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("artifact", sa.String(64), nullable=False),
        sa.Column("record_digest", sa.String(64), nullable=False),
        sa.Column("equal", sa.Boolean(), nullable=False),
        sa.Column("signer", sa.String(64), nullable=False),
        sa.Column("builder", sa.String(200), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("comparison", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "artifact"],
            ["artifact.namespace", "artifact.key"],
            name="fk_repeat_namespace_artifact",
        ),
        sa.PrimaryKeyConstraint("namespace", "artifact", "record_digest", name="pk_repeat"),
    )
    op.create_index("ix_repeat_equal_created_at", "repeat", ["equal", "created_at"])

    op.create_table(
        "build_entry",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("build", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("manifest", sa.String(64), nullable=False),
        sa.Column("dispatch", sa.String(64), nullable=True),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "build"],
            ["build.namespace", "build.key"],
            name="fk_build_entry_namespace_build",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "manifest"],
            ["manifest.namespace", "manifest.id"],
            name="fk_build_entry_namespace_manifest",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "dispatch"],
            ["artifact.namespace", "artifact.key"],
            name="fk_build_entry_namespace_dispatch",
        ),
        sa.PrimaryKeyConstraint("namespace", "build", "position", name="pk_build_entry"),
    )
    op.create_index(
        "ix_build_entry_namespace_build_manifest_position",
        "build_entry",
        ["namespace", "build", "manifest", "position"],
    )
    op.create_index(
        "ix_build_entry_dispatched",
        "build_entry",
        ["namespace", "build", "manifest", "position"],
        sqlite_where=sa.text("dispatch IS NOT NULL"),
        postgresql_where=sa.text("dispatch IS NOT NULL"),
    )
    op.create_index("ix_build_entry_namespace_manifest", "build_entry", ["namespace", "manifest"])

    op.create_table(
        "manifest_entry",
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("manifest", sa.String(64), nullable=False),
        sa.Column("submodule_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("shape", sa.String(64), nullable=False),
        sa.Column("backend", sa.String(64), nullable=False),
        sa.Column("artifact", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace", "artifact"],
            ["artifact.namespace", "artifact.key"],
            name="fk_manifest_entry_namespace_artifact",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "manifest"],
            ["manifest.namespace", "manifest.id"],
            name="fk_manifest_entry_namespace_manifest",
        ),
        sa.PrimaryKeyConstraint(
            "namespace", "manifest", "submodule_index", "shape", "backend", name="pk_manifest_entry"
        ),
    )
    op.create_index("ix_manifest_entry_namespace_artifact", "manifest_entry", ["namespace", "artifact"])


def downgrade() -> None:
    op.drop_index("ix_manifest_entry_namespace_artifact", table_name="manifest_entry")

    op.drop_table("manifest_entry")
    op.drop_index("ix_build_entry_dispatched", table_name="build_entry")
    op.drop_index("ix_build_entry_namespace_build_manifest_position", table_name="build_entry")
    op.drop_index("ix_build_entry_namespace_manifest", table_name="build_entry")

    op.drop_table("build_entry")
    op.drop_index("ix_repeat_equal_created_at", table_name="repeat")

    op.drop_table("repeat")
    op.drop_index("ix_artifact_blob_digest", table_name="artifact_blob")

    op.drop_table("artifact_blob")
    op.drop_table("target_factor")
    op.drop_index("ix_manifest_blob_digest", table_name="manifest_blob")

    op.drop_table("manifest_blob")
    op.drop_index("ix_build_namespace_model", table_name="build")
    op.drop_index("ix_build_namespace_created_at_key", table_name="build")

    op.drop_table("build")
    op.drop_index("ix_artifact_target", table_name="artifact")
    op.drop_index("ix_artifact_namespace_used_shape_backend_key", table_name="artifact")
    op.drop_index("ix_artifact_payload", table_name="artifact")
    op.drop_index("ix_artifact_namespace_graph_digest_created_at", table_name="artifact")

    op.drop_table("artifact")
    op.drop_table("target")
    op.drop_index("ix_manifest_namespace_built_id", table_name="manifest")

    op.drop_table("manifest")
    op.drop_index("ix_event_minute_minute", table_name="event_minute")

    op.drop_table("event_minute")
    op.drop_table("blob")
