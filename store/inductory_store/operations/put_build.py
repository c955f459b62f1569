"""Publishing a build: entries are united, never taken away."""

from __future__ import annotations

from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.errors import ArtifactMissing, KeyMismatch, TooLarge
from inductory_client.contract.key import DISPATCH_BACKEND
from inductory_client.contract.wire import BuildStored
from sqlalchemy import Connection

from inductory_store.catalog.builds import add_build, add_entries, name_model, read_build
from inductory_store.catalog.lifetimes import hold_names, note_used
from inductory_store.store import Store

from .bundle import bundle_question
from .promised import some_of

ENTRIES_MAX = 10_000
"""Most entries of a build, over all that were ever published."""


def put_build(store: Store, namespace: str, key: str, value: Build) -> BuildStored:
    """Keep a build, or add those of its entries that are new, in their order, after those that are there.

    Idempotent. A name that is there with another manifest or dispatch is added beside. Raises KeyMismatch,
    ArtifactMissing where a manifest or a dispatch isn't there, and TooLarge.
    """
    if value.namespace != namespace:
        raise KeyMismatch(f"the build is of namespace {value.namespace}, and {namespace} was addressed")
    if value.key != key:
        raise KeyMismatch(f"what was sent has the key {value.key}")
    with store.catalog.write() as connection:
        _check_names(connection, namespace, value.entries)
        there, created = read_build(connection, namespace, key, lock=True), False
        if there is None:
            created = add_build(connection, value, store.clock())
            there = read_build(connection, namespace, key, lock=True)
        entries = there.entries if there is not None else ()
        if there is not None and value.model and not there.model:
            name_model(connection, there, value.model)
        added = _new_entries(entries, value.entries)
        if len(entries) + len(added) > ENTRIES_MAX:
            raise TooLarge(f"a build has at most {ENTRIES_MAX} entries")
        add_entries(connection, value, added, len(entries))
        note_used(connection, "build", namespace, [key], store.clock())
    store.answers.forget(bundle_question(namespace, key))
    return BuildStored(key=key, created=created, entries=len(entries) + len(added))


def _check_names(connection: Connection, namespace: str, entries: tuple[BuildEntry, ...]) -> None:
    named = {entry.manifest for entry in entries}
    missing = named - hold_names(connection, "manifest", namespace, named)
    if missing:
        raise ArtifactMissing(f"publish these manifests first: {some_of(missing)}")
    dispatches = {entry.dispatch for entry in entries if entry.dispatch is not None}
    missing = dispatches - hold_names(connection, "artifact", namespace, dispatches, DISPATCH_BACKEND)
    if missing:
        raise ArtifactMissing(f"publish these dispatches first: {some_of(missing)}")


def _new_entries(there: tuple[BuildEntry, ...], sent: tuple[BuildEntry, ...]) -> tuple[BuildEntry, ...]:
    known = set(there)
    return tuple(entry for entry in dict.fromkeys(sent) if entry not in known)
