"""The outer graph as plain data, and back: what calls the pieces, and attention as it was captured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inductory_client.graph.canonical import canonicalise_attention, returns_bare
from inductory_client.graph.captured import CapturedGraph
from inductory_client.graph.decoding import PART, GraphDecoder
from inductory_client.graph.layout import keep_orders, output_orders
from inductory_client.graph.load import LoadedPiece
from inductory_client.graph.operators import function_by_name
from inductory_client.graph.split import Part
from inductory_client.graph.unsupported import Unsupported

from .container import Called
from .waking import examples_of

_BUILTIN = ("aten", "prims", "prim")


def outer_form(graph: CapturedGraph, guards: Mapping[str, tuple[str, ...]]) -> tuple[Any, dict[str, Called]]:
    """Return the outer graph's form, and what it calls by the names that the form has for it.

    `guards` are the conditions that compiling the pieces added, by key. Raises Unsupported where attention
    can't be described (FlexAttention's is compiled each time).
    """
    keys = {piece.part.name: piece.key for piece in graph.pieces}
    parts: dict[str, Called] = {}
    names: dict[Any, str] = {}
    order = iter(graph.split.parts)
    nodes = []
    for encoded in graph.outer.form["nodes"]:
        if not isinstance(encoded, dict) and encoded[0].startswith(PART):
            part = next(order)
            bare = returns_bare(part.module)
            name = names.setdefault((encoded[0], bare), str(len(names)))
            if name not in parts:
                key = keys.get(part.name)
                parts[name] = (
                    _attention(part, bare)
                    if key is None
                    else Called(artifact=key, guards=guards[key], bare=bare)
                )
            encoded = [PART + name, *encoded[1:]]
        nodes.append(encoded)
    form = {"inputs": [None] * len(graph.outer.form["inputs"]), "nodes": nodes}
    return form | {"outputs": graph.outer.form["outputs"]}, parts


def _attention(part: Part, bare: bool) -> Called:
    inputs = part.inputs()
    canonical = canonicalise_attention(part.module, inputs)
    form = canonical.form
    if any(isinstance(node, dict) and "graph" in node for node in form["nodes"]):
        raise Unsupported("attention is a higher-order operator, which is compiled in each process")
    orders = tuple(output_orders(part.module))
    kept = {"inputs": [None] * len(form["inputs"]), "nodes": form["nodes"], "outputs": form["outputs"]}
    called = Called(form=kept, bare=bare, orders=orders, examples=examples_of(canonical, inputs))
    _decoded(called)  # now, where a size in its arguments can still be told
    return called


def custom_operators(graph: CapturedGraph) -> tuple[str, ...]:
    """Return the names of the custom operators that the graph calls, with their schemas."""
    forms = [piece.canonical.form for piece in graph.unique.values()]
    forms += [canonicalise_attention(p.module, p.inputs()).form for p in graph.split.parts if p.attention]
    targets = {node[0] for form in forms for node in form["nodes"] if not isinstance(node, dict)}
    return tuple(sorted(filter(_is_custom, targets)))


def _is_custom(target: str) -> bool:
    kind, _, rest = target.partition(":")
    return kind in ("op", "packet") and rest.partition("::")[0] not in _BUILTIN


def changed_operators(recorded: tuple[str, ...]) -> list[str]:
    """Return why operators can't be used here: not registered, or with another schema."""
    found = []
    for name in recorded:
        try:
            function_by_name(name)
        except Unsupported as error:
            found.append(str(error))
    return found


def rebuild_attention(parts: Mapping[str, Called]) -> dict[str, Callable[..., Any]]:
    """Return the callables of those parts that aren't compiled, by name. Raises Unsupported."""
    return {name: _decoded(called) for name, called in parts.items() if called.artifact is None}


def rebuild_outer(
    form: Any,
    parts: Mapping[str, Called],
    attention: Mapping[str, Callable[..., Any]],
    pieces: Mapping[str, LoadedPiece],
) -> Callable[..., Any]:
    """Return the outer graph's callable, running `attention`, by name, and `pieces`, by key. Raises
    Unsupported.
    """
    calls = dict(attention)
    for name, called in parts.items():
        if called.artifact is not None:
            call = pieces[called.artifact]
            calls[name] = _bare(call) if called.bare else call
    return _decode(form, calls)


def _decoded(called: Called) -> Callable[..., Any]:
    forward = _decode(called.form, {})
    return keep_orders(_bare(forward) if called.bare else forward, called.orders, called.bare)


def _decode(form: Any, calls: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    try:
        module = GraphDecoder(form, _fixed, calls).module()
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        raise Unsupported(f"the outer graph is malformed: {type(error).__name__}: {error}") from error
    return module.forward


def _fixed(encoded: Any) -> int:
    if type(encoded) is not int:
        raise Unsupported("the outer graph computes a size by itself")
    return encoded


def _bare(call: Callable[..., Any]) -> Callable[..., Any]:
    def bare(*inputs: Any) -> Any:
        return call(*inputs)[0]

    return bare
