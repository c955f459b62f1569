"""Hits: whole artifacts and what they load, for all who ask just now in one statement."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from inductory_client.contract.errors import TooLarge
from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    LargeBinary,
    Select,
    String,
    any_,
    bindparam,
    cast,
    literal,
    null,
    select,
    union_all,
)

from .artifacts import RECORDS_AT_ONCE, is_whole
from .blobs import READY, BlobRow
from .catalog import Catalog
from .tables import artifact, artifact_blob, blob

HITS_AT_ONCE = RECORDS_AT_ONCE
"""For so many keys no record waits for another: there is nothing to stream."""
KEYS_TOGETHER_MAX = 5 * HITS_AT_ONCE
"""Most keys of one statement, whoever asks for them."""
PATIENCE_S = 0.05
"""Longest wait for a statement that others are at: one that gets no answer holds up nobody else."""


@dataclass(eq=False)
class _Question:
    namespace: str
    keys: frozenset[str]
    asleep: threading.Lock = field(default_factory=threading.Lock)
    """Held until it is answered or may be asked."""
    records: Mapping[str, bytes] | None = None
    """Those of all who were answered with it, as are the parts."""
    parts: Mapping[str, list[BlobRow]] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def is_answered(self) -> bool:
        return self.records is not None or self.error is not None


class Hits:
    """Answers which of some keys are whole artifacts. Safe for threads.

    Who comes while a statement is under way waits for its end, and is then asked for together with all others
    who wait: the busier a store is, the more of its questions are one.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._statement = _statement(is_postgresql=catalog.engine.dialect.name == "postgresql")
        self._lock = threading.Lock()
        self._asking = 0
        self._waiting: deque[_Question] = deque()

    def of(
        self, namespace: str, keys: Collection[str], *, bytes_max: int
    ) -> tuple[dict[str, bytes], dict[str, BlobRow]]:
        """Return the records of whole artifacts by key, and the rows of what they load by digest.

        For up to HITS_AT_ONCE keys. Raises TooLarge where the records are more than `bytes_max` bytes
        together, and what the catalog raises.
        """
        question = _Question(namespace, frozenset(keys))
        if self._may_ask(question):
            self._ask(question)
        if question.error is not None:
            raise question.error
        assert question.records is not None
        records = {key: question.records[key] for key in question.keys if key in question.records}
        if sum(map(len, records.values())) > bytes_max:
            raise TooLarge("the artifacts don't fit one answer; ask for fewer")
        return records, {row.digest: row for key in records for row in question.parts.get(key, ())}

    def _may_ask(self, question: _Question) -> bool:
        """Wait for an answer, or for the turn to ask; whether it is that."""
        with self._lock:
            if not self._asking:
                self._asking += 1
                return True
            question.asleep.acquire()
            self._waiting.append(question)
        if not question.asleep.acquire(timeout=PATIENCE_S):
            with self._lock:
                if question in self._waiting:
                    self._waiting.remove(question)
                    self._asking += 1
                    return True
            question.asleep.acquire()  # somebody is just asking for it
        return not question.is_answered

    def _ask(self, question: _Question) -> None:
        """Ask for this question and those that wait, and then have the next one ask that still waits."""
        together = self._together(question)
        try:
            keys = frozenset[str]().union(*(each.keys for each in together))
            records, parts = self._read(question.namespace, keys)
            for each in together:
                each.records, each.parts = records, parts
        except Exception as error:
            for each in together:
                each.error = error
        finally:
            with self._lock:
                following = self._waiting.popleft() if self._waiting else None
                self._asking -= following is None
            for each in (*together[1:], *([following] if following else [])):
                each.asleep.release()

    def _together(self, question: _Question) -> list[_Question]:
        together, keys = [question], len(question.keys)
        with self._lock:
            for each in list(self._waiting):
                if each.namespace == question.namespace:
                    keys += len(each.keys)
                    if keys > KEYS_TOGETHER_MAX:
                        break
                    together.append(each)
                    self._waiting.remove(each)
        return together

    def _read(
        self, namespace: str, keys: frozenset[str]
    ) -> tuple[dict[str, bytes], dict[str, list[BlobRow]]]:
        records: dict[str, bytes] = {}
        parts: dict[str, list[BlobRow]] = {}
        with self._catalog.read_once() as connection:
            for key, record, *part in connection.execute(
                self._statement, {"namespace": namespace, "keys": sorted(keys)}
            ):
                if record is None:
                    parts.setdefault(key, []).append(BlobRow(*part))
                else:
                    records[key] = record
        return records, parts


def _statement(*, is_postgresql: bool) -> Select[Any]:
    """Return what is asked most; making it takes longer than PostgreSQL takes to answer."""
    namespace: BindParameter[str] = bindparam("namespace")

    def among(column: ColumnElement[str]) -> ColumnElement[bool]:
        # One statement for any number of keys, which the server plans once.
        if is_postgresql:
            return column == any_(bindparam("keys", type_=ARRAY(String)))
        return column.in_(bindparam("keys", expanding=True))

    records = select(artifact.c.key, artifact.c.record, literal(""), literal(0), literal(0)).where(
        artifact.c.namespace == namespace, among(artifact.c.key), is_whole()
    )
    loaded = (
        select(
            artifact_blob.c.artifact,
            cast(null(), LargeBinary),
            blob.c.digest,
            blob.c.size,
            blob.c.packed_size,
        )
        .join(blob, blob.c.digest == artifact_blob.c.digest)
        .where(artifact_blob.c.namespace == namespace, among(artifact_blob.c.artifact))
        .where(artifact_blob.c.loaded, blob.c.state == READY)
    )
    both = union_all(records, loaded).subquery()
    return select(*both.c)
