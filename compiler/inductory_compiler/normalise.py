"""Normalising payloads: the same piece compiled twice gives the same bytes.

torch's entries hold times, debugging text, the builder's environment, and objects that are shared or not by
accident.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from typing import Any

from inductory_client.graph import torch_private

PICKLE_PROTOCOL = 5

# Read only for logging and debugging, in torch 2.11 and 2.13 (CompiledFxGraph in _inductor/output_code.py).
_GRAPH_TEXTS = ("runnable_graph_str", "inductor_post_grad_graph_str")
_GRAPH_NOTES = ("inductor_provenance_mapping_str", "inductor_provenance_stack_traces_str", "cache_linemap",
                "_serialized_original_gm", "_original_gm", "_compile_context")  # fmt: skip
# Likewise (GenericAOTAutogradResult in _functorch/_aot_autograd/aot_autograd_result.py).
_ENTRY_NOTES = ("aot_joint_graph_str", "aot_forward_graph_str", "aot_backward_graph_str", "min_cut_info_str",
                "guards_expr")  # fmt: skip
_ENTRY_TIMES = ("forward_time_taken_ns", "backward_time_taken_ns")


def normalise(entry: Any) -> bytes:
    """Return the payload bytes of a compiled entry. Deterministic; `entry` stays usable but loses its
    debugging text.
    """
    for graph in torch_private.compiled_graphs(entry):
        if graph.device_idxs:
            graph.device_idxs = type(graph.device_idxs)([0])  # as its source has it (see `generated`)
        _blank(graph, _GRAPH_TEXTS, "")
        _blank(graph, _GRAPH_NOTES, None)
        _blank(graph, ("_time_taken_ns",), 0)
        _blank(graph, ("_fx_graph_cache_debug_lines",), [])
        # How many graphs the builder had compiled before.
        graph.fx_kwargs = {**graph.fx_kwargs, "graph_id": 0}
        # Counters that a load would add, so that a load reads as a compile.
        graph.counter_deltas = type(graph.counter_deltas)()
        graph.metrics_deltas = type(graph.metrics_deltas)(**dict.fromkeys(vars(graph.metrics_deltas), 0))
    _blank(entry, _ENTRY_NOTES, None)
    _blank(entry, _ENTRY_TIMES, 0)
    entry.sanitized_aot_config = replace(entry.sanitized_aot_config, aot_id=0)
    buffer = io.BytesIO()
    _ValuePickler(buffer, PICKLE_PROTOCOL).dump(entry)
    return buffer.getvalue()


def _blank(thing: Any, names: tuple[str, ...], value: Any) -> None:
    for name in names:
        if name in vars(thing):
            setattr(thing, name, value)


class _ValuePickler(pickle._Pickler):
    """Shares equal strings, bytes and flat tuples, whether or not they happen to be one object."""

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self._shared: dict[tuple[type, Any], Any] = {}

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if type(obj) in (str, bytes):
            obj = self._shared.setdefault((type(obj), obj), obj)
        elif type(obj) is tuple and all(type(item) in (str, int, bool, float, type(None)) for item in obj):
            # By repr: (1,) == (True,), and those aren't the same tuple.
            obj = self._shared.setdefault((tuple, repr(obj)), obj)
        super().save(obj, save_persistent_id)  # type: ignore[misc]
