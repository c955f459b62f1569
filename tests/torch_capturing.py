"""Capturing graphs with Dynamo in the tests' own process, and nothing compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from inductory_client.graph.captured import CapturedGraph, capture


def captured_graphs(
    function: Callable[..., Any],
    *inputs: Any,
    grad: bool = False,
    dynamic: bool | None = None,
    **options: Any,
) -> list[CapturedGraph]:
    """Return the graphs of one call of `function`, as a backend would see them. Raises Unsupported."""
    found: list[CapturedGraph] = []
    refused: list[Exception] = []

    def backend(module: torch.fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        try:
            found.append(capture(module, example_inputs, **options))
        except Exception as error:
            refused.append(error)
        return module.forward

    torch._dynamo.reset()
    with torch.set_grad_enabled(grad):
        torch.compile(function, backend=backend, dynamic=dynamic)(*inputs)
    if refused:
        raise refused[0]
    return found


def captured_graph(function: Callable[..., Any], *inputs: Any, **options: Any) -> CapturedGraph:
    """Return the graph of a call that is captured in one."""
    (graph,) = captured_graphs(function, *inputs, **options)
    return graph


def keys(graph: CapturedGraph) -> list[str]:
    """Return the keys of a graph's pieces, in order."""
    return [piece.key for piece in graph.pieces]


def digests(graph: CapturedGraph) -> list[str]:
    """Return the graph digests of a graph's pieces, in order."""
    return [piece.canonical.digest for piece in graph.pieces]
