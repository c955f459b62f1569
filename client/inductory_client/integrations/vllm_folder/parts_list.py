"""The parts list, `vllm_compile_cache.py`: which compiled part serves what, and where it lies.

    newer   ((1, 16384), 0, 'inductor_standalone'): {'graph_handle': (name, path), 'cache_key': key}
    older   (None, 0, 'inductor'): (key, path)

It is Python's literal syntax, read with `ast` alone, so that nothing in it can run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from inductory_client.contract.artifact import Backend
from inductory_client.contract.errors import Malformed
from inductory_client.contract.shape import Shape

PARTS_LIST_BYTES_MAX = 16 << 20

_Text = Annotated[str, Meta(min_length=1, max_length=4096)]
_Key = tuple[Shape, Annotated[int, Meta(ge=0, le=1_000_000)], Backend]


class _Newer(msgspec.Struct, frozen=True):
    """A value of the newer form. vLLM may add fields; they are not ours to judge."""

    cache_key: Annotated[str, Meta(min_length=1, max_length=512)]
    graph_handle: tuple[_Text, _Text] | None


@dataclass(frozen=True)
class Part:
    """One line of the parts list."""

    shape: Shape
    submodule_index: int
    backend: str
    cache_key: str
    """vLLM's key of the code; the hash in the older form."""
    path: str | None
    """Absolute path of the compiled part as it was recorded; None where it lies inside the AOT model file."""


def parse_parts_list(data: bytes) -> tuple[Part, ...]:
    """Read a parts list of either form, in the order it was written. Raises Malformed."""
    parts = []
    for key_node, value_node in _lines(data):
        try:
            shape, index, backend = msgspec.convert(ast.literal_eval(key_node), _Key)
            cache_key, path = _value(ast.literal_eval(value_node))
        except (ValueError, TypeError) as error:
            raise Malformed(f"line {key_node.lineno} of the parts list makes no sense: {error}") from error
        parts.append(Part(shape, index, backend, cache_key, path))
    return tuple(parts)


def relocate_parts_list(data: bytes, relocate: Callable[[str], str]) -> bytes:
    """Return the parts list with `relocate(path)` for each recorded path, and every other byte as it was.

    Raises Malformed, also where `relocate` does.
    """
    parse_parts_list(data)
    starts = _line_starts(data)
    pieces, done = [], 0
    for node in _path_nodes(data):
        path = ast.literal_eval(node)
        moved = relocate(path)
        if moved == path:
            continue
        span = _span(node, starts)
        pieces += [data[done : span.start], repr(moved).encode()]
        done = span.stop
    return b"".join([*pieces, data[done:]])


def complete_parts_list(data: bytes, keys: Mapping[tuple[Shape, int], str]) -> bytes:
    """Return the parts list with a line also for each submodule that shares the code of a listed one.

    vLLM lists code once, and learns that another submodule has the same by giving that one a key. `keys` are
    those keys, by compile range and submodule index. Raises Malformed.
    """
    parts = parse_parts_list(data)
    if len({part.backend for part in parts}) != 1:
        return data
    starts = _line_starts(data)
    values = {
        (part.shape, part.cache_key): data[_span(value, starts)]
        for part, (_, value) in zip(parts, _lines(data), strict=True)
    }
    listed = {(part.shape, part.submodule_index) for part in parts}
    lines = [
        b"    %b: %b,\n" % (repr((shape, index, parts[0].backend)).encode(), values[shape, key])
        for (shape, index), key in sorted(keys.items(), key=lambda item: (item[0][1], str(item[0][0])))
        if (shape, index) not in listed and (shape, key) in values
    ]
    if not lines:
        return data
    end = data.rindex(b"}")
    comma = b"" if data[:end].rstrip().endswith(b",") else b","
    return b"".join([data[:end].rstrip(), comma, b"\n", *lines, data[end:]])


def _value(value: Any) -> tuple[str, str | None]:
    """Return the cache key and the path of a line's value."""
    if isinstance(value, tuple):
        cache_key, path = msgspec.convert(value, tuple[_Text, _Text])
        return cache_key, path
    newer = msgspec.convert(value, _Newer)
    return newer.cache_key, newer.graph_handle[1] if newer.graph_handle else None


def _lines(data: bytes) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield the nodes of keys and values. Raises Malformed unless the whole is one dict display."""
    if len(data) > PARTS_LIST_BYTES_MAX:
        raise Malformed(f"the parts list is longer than {PARTS_LIST_BYTES_MAX >> 20} MiB")
    try:
        tree = ast.parse(data.decode("utf-8"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Malformed(f"the parts list isn't a Python literal: {error}") from error
    if not isinstance(tree, ast.Dict):
        raise Malformed("the parts list isn't a dict")
    for key, value in zip(tree.keys, tree.values, strict=True):
        if key is None:
            raise Malformed("the parts list unpacks another dict, which a literal can't")
        yield key, value


def _path_nodes(data: bytes) -> list[ast.expr]:
    """Return the nodes of the recorded paths, in the order of the text."""
    nodes = []
    for _, value in _lines(data):
        handle = value
        if isinstance(value, ast.Dict):
            handles = (
                item
                for name, item in zip(value.keys, value.values, strict=True)
                if isinstance(name, ast.Constant) and name.value == "graph_handle"
            )
            handle = next(handles, value)
        if isinstance(handle, ast.Tuple) and len(handle.elts) == 2:
            nodes.append(handle.elts[1])
    return sorted(nodes, key=lambda node: (node.lineno, node.col_offset))


def _span(node: ast.expr, starts: list[int]) -> slice:
    """Return where a node stands, by the offsets of lines."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return slice(starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset)


def _line_starts(data: bytes) -> list[int]:
    """Return the offset of each line's first byte; Python ends lines at \\n, \\r\\n and \\r."""
    return [0, *(match.end() for match in re.finditer(rb"\r\n|\r|\n", data))]
