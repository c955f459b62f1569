"""The entries of torch's own remote caches, as entries of the store."""

from __future__ import annotations

import base64
import binascii
import json

from inductory_client.contract.digest import digest_of
from inductory_client.contract.target import Target
from inductory_client.foreign import Files, ForeignCache
from inductory_client.settings import Settings
from inductory_client.shared import shared_client
from inductory_client.trouble import warn_once

SCHEME = "inductor"
BACKEND = "inductor"
ASKED_MAX = 1000

_DATA, _REST, _VALUE = "data", "rest.json", "value.json"


class TorchEntries:
    """What torch's remote caches get and put, by the keys that they give. Safe for threads; never raises."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asked: dict[str, Target] = {}
        """What was asked for in vain, and for which target: modes may have changed until it is put."""

    def get(self, key: str) -> bytes | None:
        """Return what was put under `key` for this machine and software, verified; None where it isn't
        there.
        """
        try:
            target = _target()
            found = self._cache(target).fetch([key], kin=digest_of(key.encode())).get(key)
            if found is not None:
                return value_of(found)
            self._note(key, target)
        except Exception as error:
            warn_once(f"torch-cache:{type(error).__name__}", "torch's caches aren't served: %s", error)
        return None

    def put(self, key: str, data: bytes) -> None:
        """Keep an entry here and at the store, in the background."""
        try:
            files = files_of_value(data)
            target = self._asked.pop(key, None) or _target()
            self._cache(target).offer(
                key, files, kin=digest_of(key.encode()), compile_seconds=_compile_seconds(files)
            )
        except Exception as error:
            warn_once(f"torch-cache:{type(error).__name__}", "torch's caches aren't served: %s", error)

    def _cache(self, target: Target) -> ForeignCache:
        return ForeignCache(
            client=shared_client(self._settings), scheme=SCHEME, backend=BACKEND, target=target
        )

    def _note(self, key: str, target: Target) -> None:
        if len(self._asked) < ASKED_MAX:
            self._asked[key] = target


def _target() -> Target:
    from inductory_client.graph.factors import process_target

    return process_target()


def files_of_value(value: bytes) -> Files:
    """Return the files that a value of torch's travels as.

    A value is JSON, and in most of it bytes in base64: as such they take a third more, and pack badly.
    """
    try:
        fields = json.loads(value)
        text = fields.pop("data")
        data = base64.b64decode(text, validate=True)
        if base64.b64encode(data).decode() == text:
            return {_DATA: data, _REST: json.dumps(fields).encode()}
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        pass  # an autotuning result: JSON throughout
    return {_VALUE: value}


def value_of(files: Files) -> bytes:
    """Return the value whose files these are. Raises KeyError or ValueError for files of something else."""
    if _VALUE in files:
        return files[_VALUE]
    fields = json.loads(files[_REST])
    return json.dumps({"data": base64.b64encode(files[_DATA]).decode(), **fields}).encode()


def _compile_seconds(files: Files) -> float | None:
    taken_ms = json.loads(files.get(_REST, b"{}")).get("time_taken_ms")
    return taken_ms / 1e3 if isinstance(taken_ms, (int, float)) else None
