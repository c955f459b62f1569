"""Rows of `artifact` and `artifact_blob`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.descriptor import LOADED, Descriptor
from inductory_client.contract.errors import TooLarge
from inductory_client.contract.shape import shape_text
from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, update

from .batches import among
from .blobs import READY
from .insert import insert_all, insert_first, insert_or_replace
from .order import in_order
from .tables import artifact, artifact_blob, blob
from .targets import add_target

RECORDS_AT_ONCE = 20
"""Records that are read ahead: one may be as long as a message."""
NEAREST_MAX = 16
"""Artifacts of one graph that are compared to find the nearest."""


@dataclass(frozen=True)
class Candidate:
    """An artifact of the graph that a miss is about."""

    key: str
    target: str


@dataclass(frozen=True)
class KeptArtifact:
    """The first writer's artifact, and how many later ones were equal to it or not."""

    record: bytes
    created_at: float
    reproduced: int
    different: int


def artifact_records(
    connection: Connection, namespace: str, keys: Collection[str], *, bytes_max: int
) -> dict[str, bytes]:
    """Return the records of whole artifacts by key: those whose loaded blobs are all there.

    Raises TooLarge as soon as they are more than `bytes_max` bytes together.
    """
    query = select(artifact.c.key, artifact.c.record).where(artifact.c.namespace == namespace, is_whole())
    found: dict[str, bytes] = {}
    for portion in among(artifact.c.key, keys):
        rows = connection.execute(query.where(portion))
        for row in rows.yield_per(RECORDS_AT_ONCE):
            bytes_max -= len(row.record)
            if bytes_max < 0:
                raise TooLarge("the artifacts don't fit one answer; ask for fewer")
            found[row.key] = row.record
    return found


def whole_artifacts(connection: Connection, namespace: str, keys: Collection[str]) -> set[str]:
    """Return those of `keys` that are published, with all that a load reads."""
    query = select(artifact.c.key).where(artifact.c.namespace == namespace, is_whole())
    portions = among(artifact.c.key, keys)
    return {key for portion in portions for key in connection.scalars(query.where(portion))}


def kept_artifact(connection: Connection, namespace: str, key: str) -> KeptArtifact | None:
    """Return the artifact that is kept under a key, whole or not."""
    columns = (artifact.c.record, artifact.c.created_at, artifact.c.reproduced, artifact.c.different)
    query = select(*columns).where(artifact.c.namespace == namespace, artifact.c.key == key)
    row = connection.execute(query).first()
    return None if row is None else KeptArtifact(*row)


def hold_artifact(connection: Connection, namespace: str, key: str) -> bool:
    """Say whether a key is published, whole or not, and keep other writers from it for this transaction.

    What is decided by the artifact is read after this: a statement that waits for a row still sees all else
    as it was when it began to wait.
    """
    query = select(artifact.c.key).where(artifact.c.namespace == namespace, artifact.c.key == key)
    return connection.scalar(query.with_for_update(key_share=True)) is not None


def nearest_candidates(
    connection: Connection, namespace: str, graph_digests: Collection[str]
) -> dict[str, list[Candidate]]:
    """Return the newest artifacts of each graph, in one query."""
    rank = func.row_number().over(
        partition_by=artifact.c.graph_digest, order_by=(artifact.c.created_at.desc(), artifact.c.key)
    )
    ranked = (
        select(artifact.c.graph_digest, artifact.c.key, artifact.c.target, rank.label("rank"))
        .where(artifact.c.namespace == namespace, artifact.c.graph_digest.in_(sorted(set(graph_digests))))
        .subquery()
    )
    found: dict[str, list[Candidate]] = {}
    query = select(ranked).where(ranked.c.rank <= NEAREST_MAX).order_by(ranked.c.graph_digest, ranked.c.rank)
    for row in connection.execute(query):
        found.setdefault(row.graph_digest, []).append(Candidate(row.key, row.target))
    return found


def add_artifact(connection: Connection, namespace: str, value: Artifact, now: float) -> bool:
    """Publish an artifact under its key, and say whether it is the first."""
    row = _row(connection, namespace, value, now)
    if not insert_first(connection, artifact, row):
        return False
    insert_all(connection, artifact_blob, _blob_rows(namespace, str(row["key"]), value.subject.descriptors))
    return True


def replace_artifact(connection: Connection, namespace: str, value: Artifact, now: float) -> None:
    """Put an artifact in the place of one whose bytes were lost."""
    row = _row(connection, namespace, value, now)
    insert_or_replace(connection, artifact, row)
    of_artifact = (artifact_blob.c.namespace == namespace, artifact_blob.c.artifact == row["key"])
    connection.execute(delete(artifact_blob).where(*of_artifact))
    insert_all(connection, artifact_blob, _blob_rows(namespace, str(row["key"]), value.subject.descriptors))


def mark_used(connection: Connection, namespace: str, keys: Select[tuple[str]]) -> None:
    """Note of the artifacts with these keys that a manifest or a build names them."""
    of_namespace = artifact.c.namespace == namespace
    unused = in_order(artifact.c.key, where=of_namespace & ~artifact.c.used & artifact.c.key.in_(keys))
    connection.execute(update(artifact).where(of_namespace, artifact.c.key.in_(unused)).values(used=True))


def payload_of(descriptors: Sequence[Descriptor]) -> Descriptor:
    """Return the descriptor that stands for an artifact in listings: the first loaded one, or the first."""
    return next((each for each in descriptors if each.media_type in LOADED), descriptors[0])


def is_whole() -> ColumnElement[bool]:
    """Whether an artifact may be given: all that a load of it reads is there."""
    lost = (
        select(artifact_blob.c.position)
        .join(blob, blob.c.digest == artifact_blob.c.digest)
        .where(artifact_blob.c.namespace == artifact.c.namespace, artifact_blob.c.artifact == artifact.c.key)
        .where(artifact_blob.c.loaded, blob.c.state != READY)
    )
    return (artifact.c.state == READY) & ~lost.exists()


def _row(connection: Connection, namespace: str, value: Artifact, now: float) -> dict[str, object]:
    subject = value.subject
    payload = payload_of(subject.descriptors)
    return {
        "namespace": namespace,
        "key": value.key,
        "scheme": subject.scheme,
        "scheme_key": subject.scheme_key,
        "graph_digest": subject.graph_digest,
        "shape": shape_text(subject.shape),
        "backend": subject.backend,
        "options": wire.encode(subject.options),
        "target": add_target(connection, subject.target, now),
        "state": READY,
        "signer": value.signature.signer,
        "compile_seconds": value.provenance.compile_seconds,
        "payload": payload.digest,
        "payload_size": payload.size,
        "created_at": now,
        "used_at": None,
        "condemned_at": None,
        "record": wire.encode(value),
    }


def _blob_rows(namespace: str, key: str, descriptors: Sequence[Descriptor]) -> list[dict[str, object]]:
    return [
        {
            "namespace": namespace,
            "artifact": key,
            "position": position,
            "media_type": each.media_type,
            "name": each.name,
            "digest": each.digest,
            "size": each.size,
            "loaded": each.media_type in LOADED,
        }
        for position, each in enumerate(descriptors)
    ]
