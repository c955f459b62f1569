"""Settings that won: what Inductor's autotuning chose for a model's kernels when they first ran.

torch keeps each in a file of its own, and looks there when it loads the kernel. Where there is none it times
all settings again, 40 ms a kernel of a start. The files are written after vLLM has saved the model, so that
they travel beside it, named as for GPU 0:

    torch_compile_cache/torch_aot_compile/<hash>/inductor_cache/<folder>/<digest>.best_config

The digest is of the kernel's source and of torch, and what the file says holds for the very list of settings
that it was chosen from: another kernel can't be given it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from inductory_client.contract.errors import Malformed
from inductory_client.foreign import Files
from inductory_client.graph.unsupported import Unsupported
from inductory_client.integrations.vllm_folder.writer import FolderWriter

from .device_index import tuned_on_gpu

BYTES_MAX = 64 << 10
"""Of one setting, which takes 250."""

_CACHE = r"torch_aot_compile/[0-9a-f]{64}/inductor_cache"
_CACHE_FOLDER = re.compile(_CACHE)
_SETTING = re.compile(rf"({_CACHE})/([a-z2-7]{{2}}/[0-9a-f]{{64}}\.best_config)")


def tuned_modules(modules: Iterable[str], root: str) -> list[Path]:
    """Return which generated modules lie in a cache of vLLM's below `root`, its `torch_compile_cache`, where
    autotuning has chosen anything.
    """
    found = [Path(module) for module in modules]
    tuned = {cache: _holds_any(cache, root) for cache in map(_cache_of, found)}
    return [module for module in found if tuned[_cache_of(module)]]


def settings_of(modules: Iterable[Path], root: str, gpu: int, travels_for: int) -> Files:
    """Return the settings that won on GPU `gpu` for kernels of these modules, as they travel."""
    files: Files = {}
    for module in modules:
        cache = _cache_of(module)
        below = cache.relative_to(root).as_posix()
        with suppress(OSError, Unsupported):  # a module that can't be moved isn't published either
            for here, there in tuned_on_gpu(module.read_text(), gpu, travels_for).items():
                with suppress(FileNotFoundError):  # there was nothing to choose from
                    files[f"{below}/{there}"] = (cache / here).read_bytes()
    return files


def write_settings(files: Files, root: str, moved: Mapping[str, str]) -> None:
    """Write settings that travelled below `root`, under the names that `moved` has for this GPU; those that
    are there already stay. Raises Malformed where one is none, StorageFull and StorageFailed.
    """
    writer = FolderWriter(Path(root))
    for name, data in files.items():
        found = _SETTING.fullmatch(name)
        if found is None or len(data) > BYTES_MAX or not isinstance(_parsed(data), dict):
            raise Malformed(f"{name} isn't what autotuning chose for a kernel")
        here = f"{found[1]}/{moved.get(found[2], found[2])}"
        if writer.read(here) is None:
            writer.write(here, data)


def _cache_of(module: Path) -> Path:
    return module.parent.parent


def _holds_any(cache: Path, root: str) -> bool:
    if not cache.is_relative_to(root) or not _CACHE_FOLDER.fullmatch(cache.relative_to(root).as_posix()):
        return False
    return any(cache.glob("*/*.best_config"))


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None
