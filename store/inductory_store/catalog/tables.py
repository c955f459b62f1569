"""The tables. Namespace, component and key scheme are columns from the first migration.

Shapes stand as text (`shape_text`), instants as seconds since the epoch, messages as the JSON that travels.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

DIGEST = String(64)
NAMESPACE = String(64)

blob = Table(
    "blob",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("packed_size", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("condemned_at", Double),
)
"""A row is the promise that the bytes are there: `ready`, or `damaged` once they were found not to be.

`stray` are bytes that nobody promised, and `deleting` those that are about to go: neither is a promise.
`condemned_at` since nothing names it; it awaits deletion, and is promised until then.
"""

target = Table(
    "target",
    metadata,
    Column("fingerprint", DIGEST, primary_key=True),
    Column("created_at", Double, nullable=False),
)

target_factor = Table(
    "target_factor",
    metadata,
    Column("target", DIGEST, ForeignKey("target.fingerprint"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("value", String(4000), nullable=False),
)

artifact = Table(
    "artifact",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("key", DIGEST, primary_key=True),
    Column("scheme", String(32), nullable=False),
    Column("scheme_key", String(512)),
    Column("graph_digest", DIGEST),
    Column("shape", String(64), nullable=False),
    Column("backend", String(64), nullable=False),
    Column("options", LargeBinary, nullable=False),
    Column("target", DIGEST, ForeignKey("target.fingerprint"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("signer", DIGEST, nullable=False),
    Column("compile_seconds", Double),
    Column("payload", DIGEST, nullable=False),
    Column("payload_size", Integer, nullable=False),
    Column("reproduced", Integer, nullable=False, server_default="0"),
    Column("different", Integer, nullable=False, server_default="0"),
    Column("used", Boolean, nullable=False, server_default=false()),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double),
    Column("condemned_at", Double),
    Column("record", LargeBinary, nullable=False),
    Index(None, "namespace", "graph_digest", "created_at"),
    Index(None, "namespace", "used", "shape", "backend", "key"),
    Index(None, "target", "namespace", "key"),
    Index(None, "payload"),
)
"""One a key: the first writer's. Later ones are counted as reproduced or different.

`used` once a manifest names it, or a build as a dispatch: the lookup's order has the others in front.
`used_at` lags behind (`uses.py`), and is empty until a first use; `condemned_at` since it awaits deletion.
"""

artifact_blob = Table(
    "artifact_blob",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("artifact", DIGEST, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("media_type", String(128), nullable=False),
    Column("name", String(4096), nullable=False),
    Column("digest", DIGEST, ForeignKey("blob.digest"), nullable=False),
    Column("size", Integer, nullable=False),
    Column("loaded", Boolean, nullable=False),
    ForeignKeyConstraint(["namespace", "artifact"], ["artifact.namespace", "artifact.key"]),
    Index(None, "digest"),
)

repeat = Table(
    "repeat",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("artifact", DIGEST, primary_key=True),
    Column("record_digest", DIGEST, primary_key=True),
    Column("equal", Boolean, nullable=False),
    Column("signer", DIGEST, nullable=False),
    Column("builder", String(200), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("comparison", LargeBinary, nullable=False),
    ForeignKeyConstraint(["namespace", "artifact"], ["artifact.namespace", "artifact.key"]),
    Index(None, "equal", "created_at"),
)
"""What later builders made of an artifact's key, once a record, compared with the one that is kept."""

manifest = Table(
    "manifest",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("id", DIGEST, primary_key=True),
    Column("scheme", String(32), nullable=False),
    Column("graph_digest", DIGEST, nullable=False),
    Column("guards_digest", DIGEST, nullable=False),
    Column("submodules", Integer, nullable=False),
    Column("built", Boolean, nullable=False, server_default=false()),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double),
    Column("condemned_at", Double),
    Column("record", LargeBinary, nullable=False),
    Index(None, "namespace", "built", "id"),
)
"""`built` once a build names it."""

manifest_entry = Table(
    "manifest_entry",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("manifest", DIGEST, primary_key=True),
    Column("submodule_index", Integer, primary_key=True, autoincrement=False),
    Column("shape", String(64), primary_key=True),
    Column("backend", String(64), primary_key=True),
    Column("artifact", DIGEST, nullable=False),
    ForeignKeyConstraint(["namespace", "manifest"], ["manifest.namespace", "manifest.id"]),
    ForeignKeyConstraint(["namespace", "artifact"], ["artifact.namespace", "artifact.key"]),
    Index(None, "namespace", "artifact"),
)

manifest_blob = Table(
    "manifest_blob",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("manifest", DIGEST, primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", String(4096), nullable=False),
    Column("media_type", String(128), nullable=False),
    Column("digest", DIGEST, ForeignKey("blob.digest"), nullable=False),
    Column("size", Integer, nullable=False),
    ForeignKeyConstraint(["namespace", "manifest"], ["manifest.namespace", "manifest.id"]),
    Index(None, "digest"),
)
"""A manifest's documents and files, by role."""

build = Table(
    "build",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("key", DIGEST, primary_key=True),
    Column("component", String(128), nullable=False),
    Column("model", String(400), nullable=False),
    Column("sources", DIGEST, nullable=False),
    Column("config", DIGEST, nullable=False),
    Column("target", DIGEST, ForeignKey("target.fingerprint"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double),
    Column("condemned_at", Double),
    Column("record", LargeBinary, nullable=False),
    Index(None, "namespace", "created_at", "key"),
    Index(None, "namespace", "model"),
)
"""The record is the build without its entries, which are rows: they grow."""

build_entry = Table(
    "build_entry",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("build", DIGEST, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", String(200), nullable=False),
    Column("manifest", DIGEST, nullable=False),
    Column("dispatch", DIGEST),
    Column("record", LargeBinary, nullable=False),
    ForeignKeyConstraint(["namespace", "build"], ["build.namespace", "build.key"]),
    ForeignKeyConstraint(["namespace", "manifest"], ["manifest.namespace", "manifest.id"]),
    ForeignKeyConstraint(["namespace", "dispatch"], ["artifact.namespace", "artifact.key"]),
    Index(None, "namespace", "manifest"),
    Index(None, "namespace", "build", "manifest", "position"),
    Index(None, "namespace", "dispatch"),
)
"""No two have equal name, manifest and dispatch; whoever adds them holds the build's row."""

# The lookup reads dispatches in this order, and passes over the entries that have none.
_dispatched = build_entry.c.dispatch.is_not(None)
Index(
    "ix_build_entry_dispatched",
    *(build_entry.c[name] for name in ("namespace", "build", "manifest", "position")),
    sqlite_where=_dispatched,
    postgresql_where=_dispatched,
)

lease = Table(
    "lease",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("key", DIGEST, primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("token", String(64), nullable=False),
    Column("expires_at", Double, nullable=False),
    Index(None, "expires_at"),
)
"""Who compiles a key. Instants are of the database's clock, which all replicas share."""

compile_failure = Table(
    "compile_failure",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("key", DIGEST, primary_key=True),
    Column("reason", String(400), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("retry_at", Double, nullable=False),
    Index(None, "retry_at"),
)
"""Compiles that failed, and when the next may try. Gone once the key is published."""

root = Table(
    "root",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("key", DIGEST, primary_key=True),
    Column("label", String(200), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
)
"""What is never deleted, with all that it names: a `build`, a `manifest` or an `artifact`."""

retention = Table(
    "retention",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("unused_days", Integer),
    Column("bytes_max", BigInteger),
)
"""How long a namespace keeps what nobody uses, and how much; empty for as long and as much as there is."""

event_minute = Table(
    "event_minute",
    metadata,
    Column("namespace", NAMESPACE, primary_key=True),
    Column("minute", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("saved_seconds", Double, nullable=False),
    Index(None, "minute"),
)
"""What clients reported, by minute since the epoch; `saved_seconds` are the compiles that loads stood for."""
