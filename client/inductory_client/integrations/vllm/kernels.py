"""The Triton level: what the kernels of a start need that isn't in the model.

Those that vLLM's model runner launches come by Triton's own cache manager. Triton asks for one at a time, in
the middle of a start. So the first node notes which ones a model's start used, and others ask for all of them
at once. And it notes which settings won for the kernels of the model: see `tuned`.

    vllm:<vLLM's key of the model>, backend vllm_triton --> used.json, the keys as a JSON array
                                                            tuned/...  a setting that won, a file
"""

from __future__ import annotations

import functools
import json
import re
import threading
from pathlib import Path

from inductory_client.foreign import Files, ForeignCache
from inductory_client.graph.torch_private import generated_modules

from .counts import Counts
from .model_start import TRAVELS_FOR, ModelStart
from .tuned import settings_of, tuned_modules, write_settings

_LEVEL = "triton"
_BACKEND = "vllm_triton"
_LIST = "used.json"
_TUNED = "tuned/"
_OF_INDUCTOR = re.compile(r"[^/]*/__grp__triton_")
"""Kernels that Inductor generated: they travel inside of the pieces."""


class TritonLevel:
    """Fetches the kernels of each model's start at once, and notes them where nobody has yet."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._unlisted: list[ModelStart] = []
        self._asking: list[threading.Thread] = []
        self._served = 0
        self._waited_s = 0.0

    def expect(self, start: ModelStart) -> None:
        """Begin to fetch what the start of this model will use, beside it."""
        thread = threading.Thread(
            target=self._fetch, args=(start,), name="inductory-vllm-kernels", daemon=True
        )
        self._asking.append(thread)
        thread.start()

    def settle(self, start: ModelStart) -> None:
        """Put the settings that won elsewhere where torch looks for them when it loads this model."""
        with self._counts.ours("kernels", "the model's kernels are tuned again"):
            start.asked.wait(self._counts.client.budget.remaining())
            write_settings(start.settings, start.root, start.tuned)

    def offer(self) -> None:
        """Publish what kernels of this start needed, for each of its models whose list the store lacks."""
        with self._counts.ours("kernels", "the model runner's kernels aren't listed"):
            from inductory_client.integrations.triton_cache import served, used_keys, waited_s

            self._counts.waited("triton", waited_s() - self._waited_s)
            if one_by_one := served() - self._served:
                self._counts.served_one(_LEVEL, one_by_one)
            self._waited_s, self._served = waited_s(), served()
            while self._asking:
                self._asking.pop().join()  # a fetch ends by its own deadline
            used = sorted(key for key in used_keys() if not _OF_INDUCTOR.match(key))
            modules = generated_modules()
            unlisted, self._unlisted = self._unlisted, []
            for start in unlisted:
                tuned = tuned_modules(modules, start.root)
                files = functools.partial(_files, start, used, tuned)
                if (used or tuned) and _cache(start).offer_later(
                    start.key, files, sum(map(len, used)), kin=start.kin, options=start.options
                ):
                    self._counts.offered_one(_LEVEL)

    def _fetch(self, start: ModelStart) -> None:
        from inductory_client.integrations.triton_cache import prefetch

        failed = "the model runner's kernels aren't fetched at once"
        with self._counts.ours("kernels", failed, _LEVEL, free=True):
            try:
                found = _cache(start).fetch([start.key], kin=start.kin, options=start.options)
                files = found.get(start.key)
                if files is None:
                    self._unlisted.append(start)
                    return
                start.settings = {
                    name.removeprefix(_TUNED): data for name, data in files.items() if name.startswith(_TUNED)
                }
            finally:
                start.asked.set()
            count = prefetch(_keys(files[_LIST]))
            self._counts.served_one(_LEVEL, count)


def _files(start: ModelStart, used: list[str], tuned: list[Path]) -> Files:
    settings = settings_of(tuned, start.root, start.gpu, TRAVELS_FOR)
    files = {f"{_TUNED}{name}": data for name, data in settings.items()}
    return files | {_LIST: json.dumps(used).encode()}


def _cache(start: ModelStart) -> ForeignCache:
    cache = start.cache
    return ForeignCache(client=cache.client, scheme=cache.scheme, backend=_BACKEND, target=cache.target)


def _keys(data: bytes) -> list[str]:
    """Return the keys of a list. Raises ValueError where it is none."""
    keys = json.loads(data)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("the list of kernels isn't a JSON array of texts")
    return keys
