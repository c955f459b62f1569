"""A file that was compiled for one GPU of a node, as it is for another.

torch writes the index of the GPU into what it compiles: as text into generated source (`cuda:1`,
`_DeviceGuard(1)`, `stream1`), as a number into pickles, after `cuda`, `device` and `device_idxs`. And it
names sources by their digests, so other names follow:

    source of a kernel   --> its file, the key of the kernel in memory, the file with the setting that won
    generated module     --> its file

    piece                --> its keys in torch's caches

All of these are exchanged, and nothing is run. The keys, too, since processes of a node share the folder of
those caches: under one key, one would be given what another has written for its own GPU. What can't be
understood isn't moved.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from inductory_client.graph.device_source import SourceNames, device_index
from inductory_client.graph.torch_private import names_of_source
from inductory_client.graph.unsupported import Unsupported
from inductory_client.integrations.vllm_folder.container import rewrite_part
from inductory_client.integrations.vllm_folder.pickles import Changes

_IN_NOTES = r"\bcuda:|\btype='cuda', index=|/inductor_cache/triton/"
_IN_CODE = r"\b_DeviceGuard\(|\bset_device\(|\bget_raw_stream\(|\b(?:raw_)?stream"
_NOTED = re.compile(rf"({_IN_NOTES})(\d+)\b")
_CODED = re.compile(rf"({_IN_NOTES}|{_IN_CODE})(\d+)\b")
"""Where generated source has an index, and what torch notes beside it."""

_DEVICE = frozenset({"cuda", "device"})
"""Texts that an index follows at once: a device, its properties, and whose kernel something is."""

_INDICES = "device_idxs"
_OF_A_SET = frozenset({"BINGET", "LONG_BINGET", "EMPTY_LIST", "MARK", "BININT1"})
"""Opcodes between that text and the members of its set, whose class was named before, for `device_types`."""

_NAMES = re.compile(r"(?:\b(?P<folder>[a-z2-7]{2})/)?\b(?P<name>c[a-z2-7]{51}|[0-9a-f]{64}\.best_config)\b")
"""Names that are digests of sources, and the folder where each lies."""

_KEY = re.compile(r"[af][a-z2-7]{51}")
"""Keys that torch gives what AOTAutograd and Inductor made of a graph, as texts of their own."""

_TRACED = "content"
"""What comes before the source of a file that was traced: that is compared with the file, and stays."""

_KERNEL = "async_compile.triton"
_MODULE_HINT = "async_compile.wait(globals())"
"""What every generated module says, whether or not it has kernels."""
_INDEX_HINTS = ("cuda", "stream", "_device(", "_DeviceGuard(", "/triton/")


def on_gpu(data: bytes, index: int, wanted: int, tuned: dict[str, str] | None = None) -> bytes:
    """Return a file of torch's that was compiled for GPU `index` as it is for GPU `wanted`.

    What `tuned_on_gpu` says of the modules in it is added to `tuned`. Raises Malformed where it is no such
    file, and Unsupported where it names another GPU, or speaks of devices in a way that isn't known.
    """
    if index == wanted:
        return data
    move = _Move(index, wanted)
    rewrite_part(data, Changes(text=move.learn, concerns=lambda each: _MODULE_HINT.encode() in each))
    if tuned is not None:
        tuned |= move.tuned
    return rewrite_part(data, Changes(text=move.text, number=move.number))


def tuned_on_gpu(source: str, index: int, wanted: int) -> dict[str, str]:
    """Return where torch keeps the setting that won for each kernel of a generated module, and where it does
    for GPU `wanted`; both relative to Inductor's cache folder. Raises Unsupported as `on_gpu` does.
    """
    move = _Move(index, wanted)
    move.learn("", source)
    return move.tuned


class _Renamed(NamedTuple):
    """What a source is called by now, and the folders where its file lay and lies."""

    name: str
    old_folder: str
    folder: str


@dataclass
class _Move:
    index: int
    wanted: int
    names: dict[str, _Renamed] = field(default_factory=dict)
    tuned: dict[str, str] = field(default_factory=dict)
    """Where the setting that won for a kernel lies in Inductor's cache folder, and where it goes."""

    def learn(self, before: str, text: str) -> str:
        """Note the names of a generated module and of its kernels; other texts have none."""
        if before != _TRACED and _MODULE_HINT in text and (tree := _parsed(text)) is not None:
            self._check(tree)
            for source in _kernels(tree):
                old, new = self._rename(source, self._indexed(source))
                self.tuned[f"{_folder(old.file)}/{old.tuned}"] = f"{_folder(new.file)}/{new.tuned}"
            self._rename(text, self._moved(text))
        return text

    def text(self, before: str, value: str) -> str:
        if before == _TRACED:
            return value
        return self._key(value) if _KEY.fullmatch(value) else self._moved(value)

    def number(self, after: str, between: tuple[str, ...], value: int) -> int:
        named = not between if after in _DEVICE else after == _INDICES and _OF_A_SET.issuperset(between)
        return self.wanted if named and value == self.index else value

    def _moved(self, text: str) -> str:
        def renamed(found: re.Match[str]) -> str:
            folder, old = found["folder"], found["name"]
            new = self.names.get(old)
            if new is None:
                return found[0]
            if folder is None:
                return new.name
            return f"{new.folder if folder == new.old_folder else folder}/{new.name}"

        indexed = self._indexed(text)
        return _NAMES.sub(renamed, indexed) if self.names else indexed

    def _indexed(self, text: str) -> str:
        def exchanged(found: re.Match[str]) -> str:
            return f"{found[1]}{self.wanted}" if int(found[2]) == self.index else found[0]

        if not any(hint in text for hint in _INDEX_HINTS):
            return text
        return (_CODED if "\n" in text else _NOTED).sub(exchanged, text)

    def _key(self, key: str) -> str:
        digest = hashlib.sha256(f"{key} on GPU {self.wanted}".encode()).digest()
        return key[0] + base64.b32encode(digest)[: len(key) - 1].decode().lower()

    def _rename(self, source: str, moved: str) -> tuple[SourceNames, SourceNames]:
        old, new = names_of_source(source), names_of_source(moved)
        for ours, theirs in zip(old, new, strict=True):
            self.names[ours] = _Renamed(theirs, _folder(old.file), _folder(new.file))
        return old, new

    def _check(self, tree: ast.Module) -> None:
        """Raise Unsupported unless a module names no GPU but the one that it was compiled for."""
        code = [each for each in tree.body if not _is_text(each) and not _is_kernel(each)]
        named = device_index(ast.Module(code, []))
        if named not in (None, self.index):
            raise Unsupported(f"generated code for GPU {self.index} names GPU {named}")


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except SyntaxError:
        return None  # a text that only speaks of kernels


def _kernels(tree: ast.Module) -> Iterator[str]:
    """Yield the sources of a module's kernels, as torch is given them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == _KERNEL and len(node.args) > 1:
            source = node.args[1]
            if isinstance(source, ast.Constant) and isinstance(source.value, str):
                yield source.value


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_kernel(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == _KERNEL
    )


def _folder(name: str) -> str:
    """Return the folder in which torch keeps a file of that name."""
    return name[1:3]
