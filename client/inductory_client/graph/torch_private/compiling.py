"""Compiling a graph with Inductor, in a world of its own."""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sympy
import torch
import torch.fx
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from inductory_client.graph.unsupported import Unsupported

from .autocast import kept_autocast
from .entries import check_signatures


def fake_inputs(
    symbols: Sequence[tuple[str, int | None, int | None, int]],
) -> tuple[FakeTensorMode, dict[str, sympy.Symbol], Callable[[Any], Any]]:
    """Make a world for a graph to be compiled in.

    `symbols` are (name, least or None, greatest or None, hint). Returns the fake mode, the symbols by name,
    and a function that turns an expression over them into a size.
    """
    env = ShapeEnv()
    mode = FakeTensorMode(shape_env=env, allow_non_fake_inputs=True)
    named: dict[str, sympy.Symbol] = {}
    for name, low, high, hint in symbols:
        source = ConstantSource(name)
        symbol = env.create_symbol(
            hint,
            source=source,
            dynamic_dim=DimDynamic.DYNAMIC,
            constraint_dim=None,
            positive=True if low is not None and low > 0 else None,
            do_not_specialize_zero_one=True,
        )
        if not isinstance(symbol, sympy.Symbol):
            raise ValueError(f"{name} can't be dynamic with the hint {hint}")
        env.var_to_range[symbol] = ValueRanges(
            -int_oo if low is None else low, int_oo if high is None else high
        )
        env.create_symintnode(symbol, hint=hint, source=source)
        named[name] = symbol

    def size(expression: Any) -> Any:
        if isinstance(expression, sympy.Integer):
            return int(expression)
        return env.create_symintnode(expression, hint=int(expression.xreplace(hints)))

    hints = {named[name]: sympy.Integer(hint) for name, _, _, hint in symbols}
    return mode, named, size


def propagate(module: torch.fx.GraphModule, inputs: Sequence[Any], mode: FakeTensorMode) -> None:
    """Give every node of `module` the example value that compiling starts from, as Dynamo does."""
    from torch._dispatch.python import enable_python_dispatcher

    class Propagate(torch.fx.Interpreter):
        def run_node(self, node: torch.fx.Node) -> Any:
            value = super().run_node(node)
            if node.op != "output":
                node.meta["example_value"] = value
            return value

    # Without the dispatcher, operations made of others (linear, in torch 2.11) can't take symbolic sizes.
    with mode, torch.no_grad(), enable_python_dispatcher(), kept_autocast():
        Propagate(module).run(*inputs)


# torch saves no graph with these in it, because its own key doesn't hold what they do; a canonical form does.
_CACHEABLE = {f"torch.amp.autocast_mode.{name}": "" for name in ("_enter_autocast", "_exit_autocast")}


def compile_entry(
    module: torch.fx.GraphModule, inputs: Sequence[Any], options: dict[str, Any]
) -> tuple[Any, Any]:
    """Compile `module` with Inductor. Returns the callable, and torch's cache entry for it, ready to be
    pickled. Raises Unsupported where torch makes none.

    torch bundles its process-wide table of Triton kernels with every artifact, and loading would overwrite
    the ids of others'. What is taken here is the entry alone, without the table.
    """
    from torch._inductor import standalone_compile

    check_signatures()
    arguments: dict[str, Any] = {"config_patches": options} if options else {}
    with torch._inductor.config.patch("unsafe_marked_cacheable_functions", _CACHEABLE):
        artifact = standalone_compile(
            module, list(inputs), dynamic_shapes="from_graph", options=arguments, aot=True
        )
    serialize = artifact.inner_fn.compiled_fn.serialize
    if serialize is None:
        raise Unsupported("torch can't save what it compiled; TORCH_LOGS=+torch._functorch says why")
    with torch._functorch.config.patch("bundled_autograd_cache", True):
        return artifact, serialize()


@contextlib.contextmanager
def compile_cache(folder: str, *, native: bool) -> Iterator[None]:
    """Have Inductor keep its files in `folder`, and look nowhere else for what it compiled before; `native`
    says that C++ may be compiled.

    The caller's own Inductor cache stays out of what is published: its entries may come from other hints
    (torch's key doesn't hold them), and a file in it is run without a look at its content.
    """
    import torch._inductor.config as config
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    if native:
        pick_vec_isa()  # asks g++ about the CPU, for seconds, and remembers it in the caller's own cache
    # Triton's folder lies below Inductor's, unless the variable is set; torch itself sets it as it compiles.
    folders = {"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": os.path.join(folder, "triton")}
    with (
        environment(folders),
        # torch makes nothing that can be saved where its caches are off, and remote ones are others'
        # business.
        config.patch({"fx_graph_cache": True, "force_disable_caches": False, "fx_graph_remote_cache": False}),
        torch._functorch.config.patch({"enable_autograd_cache": True, "enable_remote_autograd_cache": False}),
    ):
        yield


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, and put them back as they were."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
