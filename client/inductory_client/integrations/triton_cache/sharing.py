"""Sharing: Triton's entries to and from this node and the store.

The key of a group is `<Triton's key>/__grp__<name>.json/<digest of its surroundings>`, that of a native
module `<Triton's key>/<name>.so`. Nothing here raises: an entry that can't be had is compiled.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from triton import knobs

from inductory_client.contract.errors import BadSettings
from inductory_client.foreign import Files, ForeignCache
from inductory_client.fork import ForkLock
from inductory_client.settings import Settings
from inductory_client.shared import shared_client
from inductory_client.trouble import log, warn_once

from .entry import GROUP
from .target import group_target, native_target
from .used import USED_MAX

SCHEME = "triton"
BACKEND = "triton"
NATIVE_BACKEND = "cc"
SHARE = 0.5
"""Which part of what is left of the start's budget one kernel may take: it compiles in less than a second."""
ARRIVED_BYTES_MAX = 256 << 20
"""What was prefetched and isn't asked for yet; the rest waits in the local CAS."""

_GROUP_KEY = re.compile(rf"[A-Z2-7]{{1,64}}/{GROUP}[^/\0\\]{{1,200}}\.json/[0-9a-f]{{64}}")
_NATIVE_KEY = re.compile(r"[A-Z2-7]{1,64}/[^/\0\\]{1,200}\.so")

_LOCK = ForkLock()
_ARRIVED: dict[str, Files] = {}
_waited_s = 0.0
_served = 0


def is_shared() -> bool:
    """Whether Triton's entries are shared just now.

    They aren't where somebody works on kernels themselves: what is compiled then isn't what the key says.
    """
    try:
        return _settings() is not None and not (
            knobs.compilation.always_compile
            or knobs.compilation.override
            or knobs.compilation.use_ir_loc
            or knobs.compilation.allow_non_constexpr_globals
            or knobs.runtime.add_stages_inspection_hook is not None
        )
    except AttributeError as error:
        warn_once("triton:knobs", "this Triton isn't known, and its kernels aren't shared: %s", error)
        return False


def group_key(triton_key: str, filename: str, surroundings: str) -> str:
    return f"{triton_key}/{GROUP}{filename}/{surroundings}"


def native_key(triton_key: str, filename: str) -> str:
    return f"{triton_key}/{filename}"


def fetch(key: str) -> Files | None:
    """Return an entry's files as they travel, verified; None where there is no such entry."""
    global _served
    with waiting():
        with _LOCK:
            arrived = _ARRIVED.pop(key, None)
        if arrived is not None:
            return arrived
        found = _fetch([key], share=SHARE).get(key)
        with _LOCK:
            _served += found is not None
        return found


def waited_s() -> float:
    """Return for how many seconds Triton has waited here so far, in this process."""
    with _LOCK:
        return _waited_s


def served() -> int:
    """Return how many entries came one by one so far, in this process: not by `prefetch`."""
    with _LOCK:
        return _served


@contextmanager
def waiting() -> Iterator[None]:
    """Count the time inside, and draw it from the start's budget."""
    global _waited_s
    began = time.perf_counter()
    try:
        with _drawing():
            yield
    finally:
        with _LOCK:
            _waited_s += time.perf_counter() - began


def offer(key: str, files: Mapping[str, bytes], compile_seconds: float) -> None:
    """Keep an entry here and send it to the store, in the background."""
    with waiting():
        try:
            cache = _cache(is_group=_GROUP_KEY.fullmatch(key) is not None)
            if cache is not None:
                cache.offer(key, files, compile_seconds=compile_seconds)
        except Exception as error:
            warn_once("triton:offer", "a kernel of Triton's isn't shared: %r", error)


def prefetch(keys: Iterable[str]) -> int:
    """Bring entries that Triton's folder lacks, in one round trip a kind, and return how many came.

    `keys` are what `used_keys` returned in another process; others are left out. What comes is verified, and
    handed to Triton when it asks for just that: only then is it known what the kernel's names stand for.
    """
    if not is_shared():
        return 0
    lacking = [key for key in dict.fromkeys(keys) if _is_lacking(key)][:USED_MAX]
    found = _fetch(lacking)
    with _LOCK:
        held = sum(_size(files) for files in _ARRIVED.values())
        for key, files in found.items():
            held += _size(files)
            if held <= ARRIVED_BYTES_MAX:
                _ARRIVED[key] = files
    return len(found)


def _fetch(keys: Iterable[str], share: float = 1.0) -> dict[str, Files]:
    keys = list(keys)
    found: dict[str, Files] = {}
    try:
        for is_group in (True, False):
            those = [key for key in keys if is_group == (_GROUP_KEY.fullmatch(key) is not None)]
            cache = _cache(is_group=is_group) if those else None
            if cache is not None:
                found |= cache.fetch(those, share=share)
    except Exception as error:
        warn_once("triton:fetch", "kernels of Triton's aren't fetched: %r", error)
    return found


def _drawing() -> AbstractContextManager[None]:
    try:
        settings = _settings()
        if settings is not None:
            return shared_client(settings).budget.drawing()
    except Exception as error:
        warn_once("triton:client", "what Triton waits for isn't drawn from the start's budget: %r", error)
    return nullcontext()


def _cache(*, is_group: bool) -> ForeignCache | None:
    settings = _settings()
    if settings is None:
        return None
    return ForeignCache(
        client=shared_client(settings),
        scheme=SCHEME,
        backend=BACKEND if is_group else NATIVE_BACKEND,
        target=group_target() if is_group else native_target(),
    )


@functools.cache
def _settings() -> Settings | None:
    """This process's settings; None where they say, or can't say, whether to share."""
    try:
        settings = Settings.load()
    except BadSettings as error:
        warn_once("triton:settings", "Triton's kernels aren't shared: %s", error)
        return None
    return None if settings.disabled else settings


def _is_lacking(key: str) -> bool:
    if _GROUP_KEY.fullmatch(key):
        path = key.rpartition("/")[0]
    elif _NATIVE_KEY.fullmatch(key):
        path = key
    else:
        log.debug("%r is no key of an entry of Triton's", key)
        return False
    return not os.path.exists(os.path.join(knobs.cache.dir, path))


def _size(files: Files) -> int:
    return sum(map(len, files.values()))
