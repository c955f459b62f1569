"""The modelinfo level: what vLLM found out about a model class in a process of its own, some 20 seconds long.

vllm:modelinfo/<class>/<hash of its sources> --> modelinfos/<class>.json
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from inductory_client.client import Client
from inductory_client.foreign import ForeignCache
from inductory_client.integrations.vllm_folder.writer import FolderWriter

from .counts import Counts
from .factors import modelinfo_target

_LEVEL = "modelinfo"
_BACKEND = "vllm_registry"


class ModelinfoLevel:
    """Goes around vLLM's cache of inspected model classes."""

    def __init__(self, client: Client, counts: Counts) -> None:
        self._client = client
        self._counts = counts

    def around_read(self, original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
        """Return what stands in for `_load_modelinfo_from_cache`."""

        def read(registered: Any, module_hash: str) -> Any:
            found = original(registered, module_hash)
            if found is None and self._restore(registered, module_hash):
                found = original(registered, module_hash)
                if found is not None:
                    self._loaded(registered, module_hash)
            return found

        return read

    def around_write(self, original: Callable[[Any, Any, str], None]) -> Callable[[Any, Any, str], None]:
        """Return what stands in for `_save_modelinfo_to_cache`."""

        def write(registered: Any, mi: Any, module_hash: str) -> None:
            original(registered, mi, module_hash)
            self._offer(registered, module_hash)

        return write

    def _restore(self, registered: Any, module_hash: str) -> bool:
        with self._counts.ours("modelinfo", "what is known of a model class isn't restored", _LEVEL):
            name = registered._get_cache_filename()
            key = _key(name, module_hash)
            # A start's first question, and the smallest: a store that hangs is found out by it.
            files = self._cache().fetch([key], share=0.5).get(key)
            if files is None or name not in files:
                self._counts.missed_one(_LEVEL)
                return False
            FolderWriter(Path(registered._get_cache_dir())).write(name, files[name])
            return True
        return False

    def _loaded(self, registered: Any, module_hash: str) -> None:
        self._counts.served_one(_LEVEL)
        with self._counts.ours("loaded", "the store isn't told of what was loaded"):
            self._cache().loaded(_key(registered._get_cache_filename(), module_hash))

    def _offer(self, registered: Any, module_hash: str) -> None:
        with self._counts.ours("publish", "what is known of a model class isn't published"):
            name = registered._get_cache_filename()
            data = Path(registered._get_cache_dir(), name).read_bytes()
            if self._cache().offer(_key(name, module_hash), {name: data}):
                self._counts.offered_one(_LEVEL)

    def _cache(self) -> ForeignCache:
        return ForeignCache(client=self._client, scheme="vllm", backend=_BACKEND, target=modelinfo_target())


def _key(name: str, module_hash: str) -> str:
    return f"modelinfo/{name.removesuffix('.json')}/{module_hash}"
