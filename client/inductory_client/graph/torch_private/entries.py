"""torch's cache entries: from an unpickled one to the callable that it was."""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

import functools
import inspect
import pickle
import types
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from inductory_client.graph.unsupported import Unsupported


@functools.cache
def check_signatures() -> None:
    """Raise ImportError, naming what moved, where torch's private functions don't take what is passed
    here.
    """
    from torch._functorch._aot_autograd.aot_autograd_result import BundledAOTAutogradResult
    from torch._inductor import standalone_compile
    from torch._inductor.async_compile import AsyncCompile
    from torch._inductor.output_code import CompiledFxGraph

    expected: dict[Callable[..., Any], tuple[str, ...]] = {
        standalone_compile: ("gm", "example_inputs", "dynamic_shapes", "options", "aot"),
        ShapeEnv.create_symbol: (
            "val",
            "source",
            "dynamic_dim",
            "constraint_dim",
            "positive",
            "do_not_specialize_zero_one",
        ),
        ShapeEnv.create_symintnode: ("sym", "hint", "source"),
        BundledAOTAutogradResult.wrap_post_compile: ("args", "aot_config", "fx_config"),
        CompiledFxGraph.post_compile: ("example_inputs", "constants", "graph_kwargs"),
        AsyncCompile.cpp_pybinding: ("argtypes", "source_code"),
        AsyncCompile.triton: ("kernel_name", "source_code", "device_str"),
    }
    for function, names in expected.items():
        missing = [name for name in names if name not in inspect.signature(function).parameters]
        if missing:
            raise ImportError(
                f"{function.__qualname__} of torch {torch.__version__} no longer takes {', '.join(missing)}"
            )


def compiled_graphs(entry: Any) -> list[Any]:
    """Return the CompiledFxGraphs of an entry: forward, and backward if there is one."""
    parts = (entry.compiled_fw, entry.compiled_bw)
    return [part.result for part in parts if part is not None]


def check_one_gpu(entry: Any, index: int) -> None:
    """Raise Unsupported where an entry holds what lies on a GPU, or was compiled for others than `index`.

    Only its source can be made for another index.
    """
    for graph in compiled_graphs(entry):
        if graph.constants:
            raise Unsupported("the piece holds constants, which lie on one GPU")
        others = sorted(set(graph.device_idxs) - {index})
        if others:
            raise Unsupported(f"the piece was compiled for GPU {', '.join(map(str, others))}, not {index}")


def unpickle_entry(payload: bytes) -> Any:
    """Unpickle an entry. RUNS CODE: only for bytes whose digest a trusted signer vouched for."""
    return pickle.loads(payload)  # noqa: S301


def run_entry(entry: Any, run_source: Callable[[Any, str], types.ModuleType]) -> Callable[..., Any]:
    """Turn an unpickled entry into the callable that it was.

    As torch's `deserialize_bundled_cache_entry`, without what it does beside that: the entry isn't copied
    first (we don't serialise it again), nothing is written to the Inductor cache or read from it, the
    generated source is run by `run_source` from memory, and no cache of tuned kernels is prepared, for which
    torch would hash Triton and run ptxas.
    """
    from torch._inductor.cudagraph_utils import BoxedDeviceIndex
    from torch._inductor.utils import BoxedBool

    check_signatures()
    (graph,) = compiled_graphs(entry)
    entry.compiled_fw = _Loaded(graph, run_source)
    entry.guards_expr = None  # ours travel in the signed statement, and are checked against the live ShapeEnv
    context = torch._guards.TracingContext(FakeTensorMode(shape_env=ShapeEnv()))
    with torch._guards.tracing(context):
        compiled = entry.wrap_post_compile(
            [],
            entry.sanitized_aot_config,
            {
                "cudagraphs": BoxedBool(torch._inductor.config.triton.cudagraphs),
                "boxed_forward_device_index": BoxedDeviceIndex(None),
            },
        )

    def call(*inputs: Any) -> Any:
        return compiled(list(inputs))  # a list of its own, which torch empties to free inputs early

    return call


class _Loaded:
    """Stands where an entry holds its graph, with the methods that torch calls there."""

    def __init__(self, graph: Any, run_source: Callable[[Any, str], types.ModuleType]) -> None:
        self.result = graph
        self._run_source = run_source

    def load(self, example_inputs: Any) -> Any:
        return self.result

    def post_compile(self, graph: Any, fx_config: Any) -> Any:
        from torch._inductor.output_code import CompiledFxGraphConstants

        constants = CompiledFxGraphConstants()
        module = self._run_source(graph, graph.source_code)
        for name, value in constants.unwrap(graph).items():
            setattr(module, name, value)
        graph.current_callable = module.call
        graph.recursively_apply_fns = getattr(module, "recursively_apply_fns", None)
        graph.compiled_fn_runner = getattr(module, "runner", None)
        graph.post_compile([], constants, fx_config)
        return graph


def address_of_data_ptr() -> str:
    """Return what Inductor's native kernels are told of torch: the address of a function, as text."""
    return str(torch._C._dynamo.guards._torchinductor_pyobject_tensor_data_ptr)
