"""`inductory_client.save_cache` and `load_cache`: all that a process compiled, as one artifact under a name.

    inductory_client.load_cache("qwen3-8b@2026-11")   # before the first compile
    model = torch.compile(model)
    model(...)
    inductory_client.save_cache("qwen3-8b@2026-11")   # after the last one

torch calls what travels a Mega-Cache: the entries of all its caches in one blob, which `torch.compiler` makes
and puts back into the local caches, from where they are unpickled. So it is verified before torch gets it.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import BadSettings
from inductory_client.contract.target import Target
from inductory_client.foreign import SCHEME_KEY_CHARS_MAX, Files, ForeignCache
from inductory_client.fork import ForkLock
from inductory_client.publication import Publication
from inductory_client.publish import PublicationReport
from inductory_client.settings import Settings
from inductory_client.shared import shared_client
from inductory_client.trouble import log, warn_once

SCHEME = "mega-cache"
BACKEND = "inductor"

_FILE = "mega-cache"

Outcome = Literal["loaded", "created", "reproduced", "different", "local", "unchanged"]


class MegaCache(Struct, frozen=True, kw_only=True):
    """One Mega-Cache: what is in it, and what became of it."""

    name: str
    key: str
    """The artifact's."""
    size: int
    """Bytes of the blob, unpacked."""
    entries: dict[str, int]
    """How many entries of each of torch's caches."""
    outcome: Outcome
    """`loaded`; or of what was saved: the store has it (`created`), had the same (`reproduced`) or keeps
    another one under this name (`different`); it is kept on this node alone (`local`); or all of it was
    loaded under this name before (`unchanged`), and nothing was sent."""


_LOADED: dict[str, set[tuple[str, str]]] = {}
"""Which entries were loaded, by artifact."""
_LOCK = ForkLock()


def load_cache(name: str, /, **options: Any) -> MegaCache | None:
    """Put what was saved under `name` for this machine and software into torch's local caches; None where
    that isn't to be had.

    To be called before the first compile. It waits for the store as long as a start may, and never raises but
    BadSettings, for a name or an option that makes no sense. `options` are settings by name.
    """
    settings = _settings(name, options)
    if settings.disabled:
        return None
    try:
        cache = _foreign_cache(settings)
        files = cache.fetch([name], kin=_kin(name)).get(name)
        return None if files is None else _put_back(name, cache.artifact_key(name), files)
    except Exception as error:
        warn_once(f"mega-cache:{type(error).__name__}", "Mega-Cache %s isn't loaded: %s", name, error)
        return None


def save_cache(name: str, /, **options: Any) -> MegaCache | None:
    """Publish all that this process compiled as one artifact under `name`; None where there is nothing, or
    where that fails, with one warning.

    Returns when the store has it, so it is for a builder, or for the end of a warm-up. As for all artifacts
    the first writer wins: a name stands for one Mega-Cache on each kind of machine and version of torch. So
    put into the name what changes what is compiled: the model's release, the shapes. It is torch's own keys
    that decide what is used of one, so that an outdated one costs a compile, and no more.

    Never raises but BadSettings, for a name or an option that makes no sense. `options` are settings by name.
    """
    settings = _settings(name, options)
    if settings.disabled:
        return None
    try:
        return _save(name, settings)
    except Exception as error:
        warn_once(f"mega-cache:{type(error).__name__}", "Mega-Cache %s isn't saved: %s", name, error)
        return None


def _settings(name: Any, options: dict[str, Any]) -> Settings:
    if not isinstance(name, str) or not 0 < len(name) <= SCHEME_KEY_CHARS_MAX:
        raise BadSettings(f"a Mega-Cache's name is text of up to {SCHEME_KEY_CHARS_MAX} characters: {name!r}")
    return Settings.load(**options)


def _foreign_cache(settings: Settings) -> ForeignCache:
    return ForeignCache(client=shared_client(settings), scheme=SCHEME, backend=BACKEND, target=_target())


def _target() -> Target:
    from inductory_client.graph.factors import process_target

    return process_target()


def _kin(name: str) -> str:
    return digest_of(name.encode())


def _put_back(name: str, key: str, files: Files) -> MegaCache | None:
    import torch

    data = files[_FILE]
    info = torch.compiler.load_cache_artifacts(data)
    if info is None:  # torch says why
        return None
    entries = _entries(info)
    with _LOCK:
        _LOADED.setdefault(key, set()).update(entries)
    return MegaCache(name=name, key=key, size=len(data), entries=_counts(entries), outcome="loaded")


def _save(name: str, settings: Settings) -> MegaCache | None:
    import torch

    made = torch.compiler.save_cache_artifacts()
    if made is None:
        log.info("Mega-Cache %s isn't saved: this process compiled nothing", name)
        return None
    data, info = made
    cache, entries = _foreign_cache(settings), _entries(info)
    key = cache.artifact_key(name)
    outcome: Outcome = "unchanged"
    with _LOCK:
        changed = not entries <= _LOADED.get(key, set())
    if changed:
        draft = cache.draft(name, {_FILE: data}, kin=_kin(name))
        outcome = _outcome(cache.client.publisher.publish_now(Publication(artifacts=(draft,))))
    return MegaCache(name=name, key=key, size=len(data), entries=_counts(entries), outcome=outcome)


def _outcome(report: PublicationReport) -> Outcome:
    if not report.stored:
        return "local"
    return "created" if report.created else "reproduced" if report.reproduced else "different"


def _entries(info: Any) -> set[tuple[str, str]]:
    return {(kind, key) for kind, keys in info.artifacts.items() for key in keys}


def _counts(entries: set[tuple[str, str]]) -> dict[str, int]:
    kinds = sorted(kind for kind, _ in entries)
    return {kind: kinds.count(kind) for kind in kinds}
