"""Generated source that runs on a GPU, and the index of the GPU that it names.

Inductor writes the index into the code: run elsewhere it fails, or, where one GPU may read another's memory,
computes on the wrong one without a word. It is kept for index 0, and made for the index it is to run on.
Whatever isn't known to be free of an index is refused.
"""

from __future__ import annotations

import ast
import re
from typing import Any, NamedTuple

from .unsupported import Unsupported

_CALLS = frozenset({"torch.cuda._DeviceGuard", "torch.cuda.set_device", "get_raw_stream"})
"""Functions that are given the index, as generated code calls them."""

_TAKE_INDEX = frozenset({"_DeviceGuard", "set_device", "get_raw_stream", "_cuda_getCurrentRawStream"})
"""Names of such functions: by another way, or as a value, they aren't understood."""

_RAW_STREAM = frozenset(
    {
        "get_raw_stream = torch._C._cuda_getCurrentRawStream",
        "from torch._C import _cuda_getCurrentRawStream as get_raw_stream",
    }
)
"""The two ways in which generated code comes by `get_raw_stream`."""

_STREAM = re.compile(r"((?:raw_)?stream)(\d+)")
"""The name that a GPU's own stream is given: `stream0` by torch 2.11, `raw_stream0` by 2.13."""
_CUDA = re.compile(r"cuda:(\d+)")
_GUARD = re.compile(r"\b_DeviceGuard\((\d+)\)")

# Names that speak of devices without meaning one of them.
_HARMLESS = frozenset({"device", "device_str", "cuda", "stream", "synchronize"})
_HARMLESS_PREFIXES = ("triton_", "empty_strided_", "_empty_strided_")
_SUSPICIOUS = ("device", "cuda", "stream", "gpu", "nvtx")


class SourceNames(NamedTuple):
    """What torch calls a source that it generated."""

    file: str
    """Name of its file, without an ending."""
    kernel: str
    """Key, in memory, of the kernel that is made of it."""
    tuned: str
    """Name of the file beside it that holds the setting which won."""


def device_index(tree: ast.Module) -> int | None:
    """Return the one index that generated source names, or None if it names none.

    Raises Unsupported for several, and for anything about devices that isn't known.
    """
    reader = _Reader()
    reader.visit(tree)
    if len(reader.found) > 1:
        raise Unsupported(f"generated code names several GPUs: {', '.join(map(str, sorted(reader.found)))}")
    return next(iter(reader.found), None)


def guarded_gpus(source: str) -> set[int]:
    """Return the GPUs that generated source makes the current one, without understanding all of it."""
    return set(map(int, _GUARD.findall(source)))


def on_device(tree: ast.Module, index: int) -> ast.Module:
    """Return generated source as it is for `index`. Raises Unsupported as `device_index` does."""
    device_index(tree)
    return ast.fix_missing_locations(_Writer(index).visit(tree))  # type: ignore[no-any-return]


def _index_of(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    raise Unsupported(f"generated code takes a GPU's index from {ast.unparse(node)}")


def _is_device_call(node: ast.Call) -> bool:
    return ast.unparse(node.func) in ("device", "torch.device")


class _Reader(ast.NodeVisitor):
    """Finds every index, and whatever might hide one."""

    def __init__(self) -> None:
        self.found: set[int] = set()

    def visit_Call(self, node: ast.Call) -> None:
        if ast.unparse(node.func) in _CALLS:
            if len(node.args) != 1 or node.keywords:
                raise Unsupported(f"generated code says {ast.unparse(node)}")
            self.found.add(_index_of(node.args[0]))
            return
        if _is_device_call(node):
            self._device(node)
        elif _takes_device(node):
            raise Unsupported(f"generated code says {ast.unparse(node)}")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """What has a stream's name is that GPU's own stream: a user's streams are numbered, too."""
        text = ast.unparse(node)
        for target in node.targets:
            stream = _STREAM.fullmatch(target.id) if isinstance(target, ast.Name) else None
            if stream is not None and ast.unparse(node.value) != f"get_raw_stream({stream[2]})":
                raise Unsupported(f"generated code says {text}")
        if text not in _RAW_STREAM:
            self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if ast.unparse(node) not in _RAW_STREAM:
            self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        for name in (*node.name.split("."), node.asname or ""):
            self._name(name)

    def _device(self, node: ast.Call) -> None:
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        if node.args or not isinstance(kind := named.pop("type", None), ast.Constant):
            self._constant_device(node)
        elif kind.value == "cuda":
            if set(named) != {"index"}:
                raise Unsupported(f"generated code says {ast.unparse(node)}")
            self.found.add(_index_of(named["index"]))
        elif kind.value != "cpu":
            raise Unsupported(f"generated code says {ast.unparse(node)}")

    def _constant_device(self, node: ast.Call) -> None:
        """`device('cuda:0')`: the string is looked at where it stands, and must name an index."""
        text = node.args[0] if len(node.args) == 1 and not node.keywords else None
        named = text.value if isinstance(text, ast.Constant) else None
        if named != "cpu" and _cuda_index(named) is None:
            raise Unsupported(f"generated code says {ast.unparse(node)}")

    def visit_Constant(self, node: ast.Constant) -> None:
        index = _cuda_index(node.value)
        if index is not None:
            self.found.add(index)
        elif isinstance(node.value, str) and "cuda:" in node.value:
            raise Unsupported(f"generated code holds the text {node.value[:80]!r}")

    def visit_Name(self, node: ast.Name) -> None:
        self._name(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if ast.unparse(node).startswith("torch.ops."):
            return  # operators may be called anything; what they are given is looked at
        self._name(node.attr)
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        self._name(node.arg or "")
        if node.arg == "device" and isinstance(node.value, ast.Constant) and type(node.value.value) is int:
            raise Unsupported("generated code names a device by its number alone")
        self.generic_visit(node)

    def _name(self, name: str) -> None:
        stream = _STREAM.fullmatch(name)
        if stream is not None:
            self.found.add(int(stream[2]))
        elif name in _TAKE_INDEX or (
            name not in _HARMLESS and not name.startswith(_HARMLESS_PREFIXES) and _is_suspicious(name)
        ):
            raise Unsupported(f"generated code speaks of {name!r}, which may hold a GPU's index")


def _takes_device(node: ast.Call) -> bool:
    """Whether a function is called that may be given a device otherwise than is understood."""
    name = ast.unparse(node.func).rpartition(".")[2]
    return name in ("device", "stream") or (name == "synchronize" and bool(node.args or node.keywords))


def _is_suspicious(name: str) -> bool:
    return any(word in name.lower() for word in _SUSPICIOUS)


def _cuda_index(value: Any) -> int | None:
    match = _CUDA.fullmatch(value) if isinstance(value, str) else None
    return None if match is None else int(match[1])


class _Writer(ast.NodeTransformer):
    """Puts an index where `_Reader` finds one."""

    def __init__(self, index: int) -> None:
        self.index = index

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node.func) in _CALLS:
            node.args = [ast.Constant(self.index)]
        elif _is_device_call(node):
            for keyword in node.keywords:
                if keyword.arg == "index":
                    keyword.value = ast.Constant(self.index)
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return node if _cuda_index(node.value) is None else ast.Constant(f"cuda:{self.index}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        stream = _STREAM.fullmatch(node.id)
        if stream is not None:
            node.id = f"{stream[1]}{self.index}"
        return node
