"""Saying whether builders agreed on an artifact, and in what they didn't."""

from __future__ import annotations

from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.errors import NotFound
from inductory_client.contract.wire import Agreement, Repeat

from inductory_store.catalog.artifacts import kept_artifact
from inductory_store.catalog.repeats import RepeatRow, repeats_of
from inductory_store.store import Store

from .instants import instant_text


def read_agreement(store: Store, namespace: str, key: str) -> Agreement:
    """Return whose artifact is kept and what later builders made, the newest first. Raises NotFound."""
    with store.catalog.read() as connection:
        kept = kept_artifact(connection, namespace, key)
        if kept is None:
            raise NotFound(f"there is no artifact {key} in {namespace}")
        repeats = repeats_of(connection, namespace, key)
    first = wire.decode(kept.record, Artifact)
    return Agreement(
        key=key,
        signer=first.signature.signer,
        builder=first.provenance.builder,
        created_at=instant_text(kept.created_at),
        reproduced=kept.reproduced,
        different=kept.different,
        repeats=tuple(map(_repeat, repeats)),
    )


def _repeat(row: RepeatRow) -> Repeat:
    return Repeat(
        signer=row.signer,
        builder=row.builder,
        created_at=instant_text(row.created_at),
        comparison=row.comparison,
    )
