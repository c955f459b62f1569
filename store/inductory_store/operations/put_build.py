"""Publishing a build: entries are united, never taken away."""

from __future__ import annotations

from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.errors import ArtifactMissing, KeyMismatch, TooLarge
from inductory_client.contract.wire import BuildStored

from inductory_store.catalog.builds import add_build, add_entries, name_model, read_build
from inductory_store.catalog.manifests import known_manifests
from inductory_store.store import Store

from .promised import check_blobs, some_of

ENTRIES_MAX = 10_000
"""Most entries of a build, over all that were ever published."""


def put_build(store: Store, namespace: str, key: str, value: Build) -> BuildStored:
    """Keep a build, or add those of its entries that are new, in their order, after those that are there.

    Idempotent. A name that is there with another manifest is added beside. Raises KeyMismatch,
    ArtifactMissing where a manifest isn't there, BlobMissing and SizeMismatch for dispatches, TooLarge.
    """
    if value.namespace != namespace:
        raise KeyMismatch(f"the build is of namespace {value.namespace}, and {namespace} was addressed")
    if value.key != key:
        raise KeyMismatch(f"what was sent has the key {value.key}")
    with store.catalog.write() as connection:
        wanted = {entry.manifest for entry in value.entries}
        missing = wanted - known_manifests(connection, namespace, wanted)
        if missing:
            raise ArtifactMissing(f"publish these manifests first: {some_of(missing)}")
        check_blobs(connection, (entry.dispatch for entry in value.entries if entry.dispatch is not None))
        created = add_build(connection, value, store.clock())
        there = read_build(connection, namespace, key, lock=True)
        entries = there.entries if there is not None else ()
        if there is not None and value.model and not there.model:
            name_model(connection, there, value.model)
        added = _new_entries(entries, value.entries)
        if len(entries) + len(added) > ENTRIES_MAX:
            raise TooLarge(f"a build has at most {ENTRIES_MAX} entries")
        add_entries(connection, value, added, len(entries))
    return BuildStored(key=key, created=created, entries=len(entries) + len(added))


def _new_entries(there: tuple[BuildEntry, ...], sent: tuple[BuildEntry, ...]) -> tuple[BuildEntry, ...]:
    known = {(entry.name, entry.manifest) for entry in there}
    new: dict[tuple[str, str], BuildEntry] = {}
    for entry in sent:
        if (entry.name, entry.manifest) not in known:
            new.setdefault((entry.name, entry.manifest), entry)
    return tuple(new.values())
