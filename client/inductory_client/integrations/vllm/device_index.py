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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from inductory_client.graph.device_source import SourceNames, device_index
from inductory_client.graph.unsupported import Unsupported
from inductory_client.integrations.vllm_folder.container import rewrite_part
from inductory_client.integrations.vllm_folder.pickles import Changes

_INDEX = re.compile(
    r"(\bcuda:|\btype='cuda', index=|\b_DeviceGuard\(|\bset_device\(|\bget_raw_stream\("
    r"|\b(?:raw_)?stream|/inductor_cache/triton/)(\d+)\b"
)
"""Where generated source and torch's notes beside it have an index."""

_DEVICE = frozenset({"cuda", "device"})
"""Texts that an index follows at once: a device, its properties, and whose kernel something is."""

_INDICES = "device_idxs"
_OF_A_SET = frozenset({"BINGET", "LONG_BINGET", "EMPTY_LIST", "MARK", "BININT1"})
"""Opcodes between that text and the members of its set."""

_NAMES = re.compile(r"\b(?:c[a-z2-7]{51}|[0-9a-f]{64}\.best_config)\b")
"""Names that are digests of sources."""
_NAME_CHARS_MIN = 52

_KEY = re.compile(r"[af][a-z2-7]{51}")
"""Keys that torch gives what AOTAutograd and Inductor made of a graph, as texts of their own."""

_TRACED = "content"
"""What comes before the source of a file that was traced: that is compared with the file, and stays."""

_KERNEL = "async_compile.triton"
_MODULE_HINT = f"{_KERNEL}("
_INDEX_HINTS = ("cuda", "stream", "_device(", "_DeviceGuard(", "/triton/")


NamesOf = Callable[[str], SourceNames]


def on_gpu(data: bytes, index: int, wanted: int, names_of: NamesOf) -> bytes:
    """Return a file of torch's that was compiled for GPU `index` as it is for GPU `wanted`.

    Raises Malformed where it is no such file, and Unsupported where it names another GPU, or speaks of
    devices in a way that isn't known.
    """
    if index == wanted:
        return data
    move = _Move(index, wanted, names_of)
    rewrite_part(data, Changes(text=move.learn, concerns=lambda each: _MODULE_HINT.encode() in each))
    return rewrite_part(data, Changes(text=move.text, number=move.number))


@dataclass
class _Move:
    index: int
    wanted: int
    names_of: NamesOf
    names: dict[str, str] = field(default_factory=dict)
    """New names by old ones."""
    files: dict[str, str] = field(default_factory=dict)
    """By each of these names that of the source's file."""

    def learn(self, before: str, text: str) -> str:
        """Note the names of a generated module and of its kernels; other texts have none."""
        if _MODULE_HINT in text and (tree := _parsed(text)) is not None:
            self._check(tree)
            for source in _kernels(tree):
                self._renamed(self.names_of(source), self.names_of(self._indexed(source)))
            moved = self._moved(text)
            self._renamed(self.names_of(text), self.names_of(moved))
        return text

    def text(self, before: str, value: str) -> str:
        if before == _TRACED:
            return value
        return self._key(value) if _KEY.fullmatch(value) else self._moved(value)

    def number(self, after: str, between: tuple[str, ...], value: int) -> int:
        named = not between if after in _DEVICE else after == _INDICES and _OF_A_SET.issuperset(between)
        return self.wanted if named and value == self.index else value

    def _moved(self, text: str) -> str:
        indexed = self._indexed(text)
        if len(text) < _NAME_CHARS_MIN or not self.names:
            return indexed
        pieces, done = [], 0
        for found in _NAMES.finditer(indexed):
            old = found[0]
            new = self.names.get(old)
            if new is not None:
                # A file lies in a folder that is called after it.
                folder = f"{_folder(self.files[old])}/"
                begin = found.start() - len(folder)
                inside = begin >= done and indexed.startswith(folder, begin)
                pieces += [indexed[done : begin if inside else found.start()]]
                pieces += [f"{_folder(self.files[new])}/{new}" if inside else new]
                done = found.end()
        return "".join([*pieces, indexed[done:]])

    def _indexed(self, text: str) -> str:
        def exchanged(found: re.Match[str]) -> str:
            return f"{found[1]}{self.wanted}" if int(found[2]) == self.index else found[0]

        return _INDEX.sub(exchanged, text) if any(hint in text for hint in _INDEX_HINTS) else text

    def _key(self, key: str) -> str:
        digest = hashlib.sha256(f"{key} on GPU {self.wanted}".encode()).digest()
        return key[0] + base64.b32encode(digest)[: len(key) - 1].decode().lower()

    def _renamed(self, old: SourceNames, new: SourceNames) -> None:
        for ours, theirs in zip(old, new, strict=True):
            self.names[ours] = theirs
            self.files |= {ours: old.file, theirs: new.file}

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
