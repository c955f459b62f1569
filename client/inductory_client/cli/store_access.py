"""The store that a command talks to, and how builds are named to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inductory_client.contract.digest import is_digest
from inductory_client.contract.errors import BadSettings, NotFound
from inductory_client.contract.wire import BuildSummary
from inductory_client.deadline import Deadline
from inductory_client.settings import Settings
from inductory_client.transport import HttpStore

from .table import printable

BLOB_S = 60.0
BYTES_PER_S_MIN = 1 << 20
"""A blob may take a minute, and longer for its size."""
PAGES_MAX = 1000
PREFIX_DIGITS_MIN = 6


@contextmanager
def open_store(settings: Settings) -> Iterator[HttpStore]:
    """Yield the store of the settings, and close it. Raises BadSettings where none is set."""
    if settings.url is None:
        raise BadSettings("no store is set; give --url http://host:port, or set INDUCTORY_URL")
    store = HttpStore(settings.url, settings.namespace)
    try:
        yield store
    finally:
        store.close()


def blob_deadline(size: int) -> Deadline:
    """Return until when a blob of `size` bytes may be on its way."""
    return Deadline(BLOB_S + size / BYTES_PER_S_MIN)


def all_builds(store: HttpStore) -> Iterator[BuildSummary]:
    """Yield the builds of the namespace, page by page."""
    cursor = None
    for _ in range(PAGES_MAX):
        page = store.builds(cursor)
        yield from page.builds
        cursor = page.next
        if cursor is None:
            return


def find_build(store: HttpStore, name: str, *, newest: bool = False) -> str:
    """Return the key of the build that `name` means: a key, the beginning of one, or the name of a model.

    Raises NotFound where there is none, and BadSettings where there are several, unless the `newest` will do.
    """
    if is_digest(name):
        return name
    found = [
        build
        for build in all_builds(store)
        if build.model == name or (len(name) >= PREFIX_DIGITS_MIN and build.key.startswith(name))
    ]
    if not found:
        raise NotFound(f"the store has no build {name!r} in namespace {store.namespace}")
    if len(found) > 1 and not newest:
        labels = (f"\n{build.key}  {printable(build.model)}  {build.created_at}" for build in found[:20])
        raise BadSettings(f"{name!r} means {len(found)} builds; name one by its key:{''.join(labels)}")
    return found[0].key  # the store lists the newest first
