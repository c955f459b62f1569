"""A cache's files as they travel, equal wherever they were compiled, and as they lie at one place.

Three things in a cache name the folder that it lies in, and are read when it is loaded:

    vllm_compile_cache.py   where each part lies; vLLM 0.26 opens that path
    a part's pickles        the source that a kernel was tuned from: torch looks beside it for the setting
                            that won; in another place it finds none, tunes anew and writes to the first one
    __grp__*.json           the files of a Triton kernel; see `triton_cache.py`

On the way the first two name `/VLLM_CACHE_ROOT`, and a part has lost what nobody loads: its kernels in
Triton's intermediate languages and in PTX, three quarters of its packed bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from inductory_client.contract.errors import Malformed
from inductory_client.contract.manifest import PARTS_LIST
from inductory_client.integrations.cubin import CUBIN, without_debug_text

from .container import rewrite_part
from .parts_list import relocate_parts_list
from .pickles import Changes
from .recorded_path import relative_path
from .tree import CACHE_NAME, part_folder_of
from .triton_cache import INTERMEDIATE, KernelFile

NOWHERE = f"/VLLM_CACHE_ROOT/{CACHE_NAME}"
"""The root that travelling files name."""

_RECORDED = re.compile(rf"/[^\n]*/{CACHE_NAME}/(torch_aot_compile/[0-9a-f]{{64}}/inductor_cache/[^\n]+)")
_RECORDED_HINT = re.compile(rf"/{CACHE_NAME}/torch_aot_compile/".encode())
_UNLOADED = re.compile(rf"[\w.-]+\.(?:{'|'.join(INTERMEDIATE)})")

_UNLOADED_HINT = re.compile(rf"\.(?:ttir|llir|ptx|cubin)\x94|{_RECORDED_HINT.pattern.decode()}".encode())
"""The end of such a name as a text of a pickle, which is kept in mind for a second use (0x94)."""


def normal_form(name: str, data: bytes) -> bytes:
    """Return the file called `name` as it travels. Raises Malformed where a parts list is none."""
    kernel = KernelFile.named(name)
    if kernel is not None:
        return without_debug_text(data) if kernel.file.endswith(CUBIN) else data

    def slimmed(named: str, found: bytes) -> bytes:
        if _UNLOADED.fullmatch(named):
            return b""
        return without_debug_text(found) if named.endswith(CUBIN) else found

    return _moved(name, data, NOWHERE, slimmed, _UNLOADED_HINT)


def placed(name: str, data: bytes, root: str) -> bytes:
    """Return the file called `name` as it lies below `root`, a `torch_compile_cache`, wherever it came from.

    Raises Malformed where a parts list is none, or names what lies outside of its folder.
    """
    return _moved(name, data, root, lambda named, found: found, _RECORDED_HINT)


def _moved(
    name: str, data: bytes, root: str, change: Callable[[str, bytes], bytes], hint: re.Pattern[bytes]
) -> bytes:
    folder = part_folder_of(name)
    if folder is not None and name == f"{folder.path}/{PARTS_LIST}":
        return relocate_parts_list(data, lambda path: f"{root}/{relative_path(path, folder)}")

    def text(before: str, value: str) -> str:
        found = _RECORDED.fullmatch(value)
        return f"{root}/{found[1]}" if found else value

    def concerns(entry: bytes) -> bool:
        return hint.search(entry) is not None

    changes = Changes(text=text, data=change, concerns=concerns)
    try:
        return rewrite_part(data, changes)
    except Malformed:
        return data  # a file of another kind, or laid out by a torch to come: it travels as it is
