"""Every private name of torch that sharing needs, for the compiler too. Nothing else may touch one, but for
`torch_stock`, which works where this can't.

Read in torch 2.11 and 2.13. In a torch where something moved, importing this module or the first compile or
load raises ImportError, naming it; the graph is then left to stock Inductor.
"""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import pickle
import types
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import sympy
import torch
import torch._dynamo
import torch.fx
from torch._dynamo.source import ConstantSource
from torch._ops import OpOverload, OpOverloadPacket
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv
from torch.utils._sympy import functions as sympy_functions
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from .unsupported import Unsupported

__all__ = ["FakeTensor", "FakeTensorMode", "OpOverload", "OpOverloadPacket", "ShapeEnv"]

# --- capture ---


def traced_module() -> torch.nn.Module | None:
    """Return the module whose forward Dynamo is capturing in this thread, or None if it can't be told."""
    from torch._dynamo.symbolic_convert import InstructionTranslator

    try:
        frame_locals = InstructionTranslator.current_tx().f_locals
    except Exception:  # outside a capture; the attribute it raises on has changed before
        return None
    modules = [value for value in frame_locals.values() if isinstance(value, torch.nn.Module)]
    return modules[0] if modules else None


def mark_dynamic(tensor: torch.Tensor, dimension: int, low: int, high: int | None) -> None:
    """Have Dynamo capture one dimension of an input as a symbol of this range; None for no greatest value."""
    torch._dynamo.mark_dynamic(tensor, dimension, min=None if high is None and low <= 2 else low, max=high)


def capture_name() -> str:
    """Return the qualified name of the function that Dynamo is capturing in this thread."""
    from torch._dynamo.symbolic_convert import InstructionTranslator

    try:
        return str(InstructionTranslator.current_tx().f_code.co_qualname)
    except Exception:
        return "forward"


def captured_code() -> types.CodeType | None:
    """Return the code that Dynamo is capturing in this thread; behind a graph break, that of the function
    that broke.
    """
    from torch._dynamo.resume_execution import ContinueExecutionCache
    from torch._dynamo.symbolic_convert import InstructionTranslator

    try:
        code: types.CodeType = InstructionTranslator.current_tx().f_code
        while (resumed := ContinueExecutionCache.generated_code_metadata.get(code)) is not None:
            code = resumed.code
    except Exception:
        return None
    return code


def shape_env_of(values: Sequence[Any]) -> ShapeEnv | None:
    """Return the ShapeEnv that the fake tensors and symbolic sizes among `values` belong to."""
    for value in values:
        if isinstance(value, torch.SymInt):
            return value.node.shape_env  # type: ignore[no-any-return]
        if isinstance(value, FakeTensor) and value.fake_mode.shape_env is not None:
            return value.fake_mode.shape_env
    return None


def expression_of(value: int | torch.SymInt) -> Any:
    """Return the SymPy expression of a size, or the int that it is."""
    return value.node.expr if isinstance(value, torch.SymInt) else value


def hint_of(size: int | torch.SymInt) -> int:
    """Return a size, or what it was in the call that was captured: unlike `int`, this guards on nothing."""
    return int(size.node.hint) if isinstance(size, torch.SymInt) else size


def symbol_range(env: ShapeEnv, symbol: sympy.Symbol) -> tuple[int | None, int | None]:
    """Return the least and the greatest value of `symbol`; None where there is none."""
    interval = env.var_to_range[symbol]
    low, high = interval.lower, interval.upper
    return None if low == -int_oo else int(low), None if high == int_oo else int(high)


def is_backed(env: ShapeEnv, symbol: sympy.Symbol) -> bool:
    """Whether `symbol` came from an input: sizes that depend on data have no value to stand for them."""
    values = getattr(env, "backed_var_to_val", None)
    return symbol in (env.var_to_val if values is None else values)


def guards_of(env: ShapeEnv) -> list[Any]:
    """Return the conditions on symbols that were assumed so far."""
    return [guard.expr for guard in env.guards]


def holds(env: ShapeEnv, condition: Any) -> bool:
    """Evaluate `condition` for the sizes of this capture and, if it is true, have Dynamo guard on it."""
    return bool(env.evaluate_expr(condition))


@functools.cache
def symbolic_functions() -> dict[str, Any]:
    """Return torch's own SymPy functions that sizes are computed with, by name."""
    names = ("FloorDiv", "CleanDiv", "CeilDiv", "Mod", "PythonMod", "ModularIndexing", "Max", "Min", "Where")
    return {name: getattr(sympy_functions, name) for name in names if hasattr(sympy_functions, name)}


def packet_name(packet: OpOverloadPacket) -> str:
    return str(packet._qualified_op_name)


def overloads(packet: OpOverloadPacket) -> list[OpOverload]:
    return [getattr(packet, name) for name in packet.overloads()]


def op_schema(op: OpOverload) -> str:
    return str(op._schema)


def tensor_functions() -> dict[Callable[..., Any], str]:
    """Return the functions on tensors that Dynamo writes into graphs, with their names.

    Native functions are harmless: they compute. Python ones are those that torch says may be overridden for
    tensors.
    """
    found: dict[Callable[..., Any], str] = {}
    for prefix, owner in (("torch._C._nn", torch._C._nn), ("torch.special", torch._C._special),
                          ("torch.fft", torch._C._fft), ("torch.linalg", torch._C._linalg)):  # fmt: skip
        for name in dir(owner):
            if not name.startswith("__") and callable(getattr(owner, name)):
                found[getattr(owner, name)] = f"{prefix}.{name}"
    for name in dir(torch._C._VariableFunctions):
        function = getattr(torch, name, None)
        if (
            not name.startswith("_")
            and name != "from_file"
            and isinstance(function, types.BuiltinFunctionType)
        ):
            found[function] = f"torch.{name}"
    for name, function in inspect.getmembers(torch.nn.functional, inspect.isfunction):
        if not name.startswith("_") and function.__module__ == "torch.nn.functional":
            found[function] = f"torch.nn.functional.{name}"
    for name in dir(torch):
        if name.startswith("sym_") and callable(getattr(torch, name)):
            found[getattr(torch, name)] = f"torch.{name}"
    extras = {
        "torch.functional.einsum": torch.functional.einsum,
        "torch.functional.split": torch.functional.split,
        "torch.amp._enter_autocast": torch.amp.autocast_mode._enter_autocast,
        "torch.amp._exit_autocast": torch.amp.autocast_mode._exit_autocast,
        "torch._C._set_grad_enabled": torch._C._set_grad_enabled,
        "torch._C._log_api_usage_once": torch._C._log_api_usage_once,
    }
    found.update({function: name for name, function in extras.items()})
    return found


# As functional collectives and engines' own ops call the argument that holds a group's name.
_GROUP_ARGUMENTS = frozenset({"group_name", "group", "process_group", "pg"})


@functools.cache
def _takes_process_group(op: OpOverload) -> bool:
    return any(
        argument.name in _GROUP_ARGUMENTS or "ProcessGroup" in str(argument.type)
        for argument in op._schema.arguments
    )


def traced_into(op: OpOverload) -> str | None:
    """Return why compiling takes an operator apart, so that its schema doesn't say what the code will be, or
    None.
    """
    from torch._inductor.decomposition import decompositions
    from torch._library import simple_registry
    from torch._subclasses.functional_tensor import FunctionalTensorMode

    if torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), "CompositeImplicitAutograd"):
        return "it is made of other operations"
    if op in decompositions or op.has_kernel_for_dispatch_key(torch._C.DispatchKey.Python):
        return "a decomposition of it is registered"
    rules = simple_registry.singleton.find(op.name().partition(".")[0]).torch_dispatch_rules
    if rules.find(FunctionalTensorMode) is not None:
        return "it is a Triton operator, whose kernel is compiled into the code"
    return None


def op_tags(op: OpOverload) -> list[str]:
    """Return the operator's tags; some decide the layouts that it is given."""
    return sorted(tag.name for tag in op.tags)


def names_process_group(target: Any) -> bool:
    """Whether `target` is an operator that is told by name which process group it works on."""
    if isinstance(target, OpOverloadPacket):
        return any(map(_takes_process_group, overloads(target)))
    return isinstance(target, OpOverload) and _takes_process_group(target)


def enables_gradients(target: Any, arguments: Sequence[Any]) -> bool:
    return target is torch._C._set_grad_enabled and bool(arguments) and arguments[0] is True


@contextlib.contextmanager
def kept_autocast() -> Iterator[None]:
    """Put autocast back as it was, however the block ends.

    Graphs that switch it run for real on fake tensors; one that fails halfway would leave it on for whatever
    is compiled next.
    """
    devices = [(name, torch.is_autocast_enabled(name), torch.get_autocast_dtype(name)) for name in _AUTOCAST]
    cache, depth = torch.is_autocast_cache_enabled(), _autocast_depth()
    try:
        yield
    finally:
        for device, enabled, dtype in devices:
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)
        torch.set_autocast_cache_enabled(cache)
        for _ in range(_autocast_depth() - depth):
            torch.autocast_decrement_nesting()


_AUTOCAST = ("cpu", "cuda")


def _autocast_depth() -> int:
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return int(depth)


def higher_order_op_name(target: Any) -> str | None:
    """Return the name of a higher-order operator, or None."""
    return str(target.name()) if isinstance(target, torch._ops.HigherOrderOperator) else None


def was_written(value: torch.Tensor) -> bool:
    """Whether a fake tensor was written to since it was made; so be it where that isn't counted."""
    return value.is_inference() or value._version > 0


def wraps_plain(value: torch.Tensor) -> bool:
    """Whether a fake parameter or buffer is nothing but that (Dynamo makes subclasses of its own for
    them).
    """
    return isinstance(value, FakeTensor) and type(value).__module__.startswith("torch.")


# --- factors ---


@functools.cache
def torch_key() -> str:
    """Return the digest of torch's own sources, as Inductor makes it (0.5 s, once a process)."""
    from torch._inductor.codecache import torch_key as key

    return key().hex()


# Settings of caches, checks and messages: they change how code is found, and not what it is.
_HARMLESS = frozenset({"inductor.cpp.vec_isa_ok", "inductor.cpp_cache_precompile_headers",
                       "functorch.bundled_autograd_cache", "functorch.enable_autograd_cache",
                       "functorch.strict_autograd_cache", "inductor.force_disable_caches",
                       "inductor.bundle_triton_into_fx_graph_cache", "inductor.developer_warnings",
                       "inductor.verbose_progress", "inductor._profile_var"})  # fmt: skip


def configuration() -> dict[str, Any]:
    """Return every setting of Inductor and functorch that may decide code, by dotted name.

    All of them, and not only what differs from the default: for settings that an environment variable gives
    (CPP_WRAPPER, FREEZING and some 190 more), that variable *is* the default. Settings that torch itself
    leaves out of its cache keys (paths, thread counts of the compiler) are left out here.
    """
    import torch._functorch.config
    import torch._inductor.config

    modules = (("inductor", torch._inductor.config), ("functorch", torch._functorch.config))
    return {
        f"{name}.{key}": value
        for name, module in modules
        for key, value in module.save_config_portable(ignore_private_configs=False).items()
        if f"{name}.{key}" not in _HARMLESS and "_config_" not in key and not key.startswith("_save_")
    }


def configured_defaults() -> dict[str, Any]:
    """Return the defaults of `configuration`, with the environment variables that were set at import."""
    import torch._functorch.config
    import torch._inductor.config

    modules = (("inductor", torch._inductor.config), ("functorch", torch._functorch.config))
    return {
        f"{name}.{key}": entry.default for name, module in modules for key, entry in module._config.items()
    }


def freezes_weights() -> bool:
    import torch._inductor.config

    return bool(torch._inductor.config.freezing)


def fills_uninitialised_memory() -> bool:
    """Whether deterministic mode fills new tensors, which puts a fill into the code."""
    return bool(torch.utils.deterministic.fill_uninitialized_memory)


def custom_passes() -> dict[str, Any]:
    """Return the custom passes that are set, by name; each says who it is by `uuid()`."""
    import torch._inductor.config as config

    names = ("post_grad_custom_pre_pass", "post_grad_custom_post_pass", "joint_custom_pre_pass",
             "joint_custom_post_pass", "pre_grad_custom_pass", "_pre_fusion_custom_pass",
             "_post_fusion_custom_pass", "custom_partitioner_fn")  # fmt: skip
    return {name: getattr(config, name) for name in names if getattr(config, name, None) is not None}


def triton_key() -> str:
    """Return Triton's own key, or what stands for it where Triton isn't installed."""
    try:
        from torch.utils._triton import has_triton_package

        if not has_triton_package():
            return "absent"
        from torch._inductor.runtime.triton_compat import triton_key as key

        return str(key())
    except ImportError:
        return "absent"


# --- compile ---


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
def compile_cache(folder: str) -> Iterator[None]:
    """Have Inductor keep its files in `folder`, and look nowhere else for what it compiled before.

    The caller's own Inductor cache stays out of what is published: its entries may come from other hints
    (torch's key doesn't hold them), and a file in it is run without a look at its content.
    """
    import torch._inductor.config as config
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    pick_vec_isa()  # asks g++ about the CPU, for seconds, and remembers the answer in the caller's own cache
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
    try:
        with (
            # torch makes nothing that can be saved where its caches are off, and remote ones are others'
            # business.
            config.patch(
                {"fx_graph_cache": True, "force_disable_caches": False, "fx_graph_remote_cache": False}
            ),
            torch._functorch.config.patch(
                {"enable_autograd_cache": True, "enable_remote_autograd_cache": False}
            ),
        ):
            yield
    finally:
        if before is None:
            del os.environ["TORCHINDUCTOR_CACHE_DIR"]
        else:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = before


# --- entries ---


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
        CompiledFxGraph.after_deserialization: ("constants",),
        AsyncCompile.cpp_pybinding: ("argtypes", "source_code"),
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


def unpickle_entry(payload: bytes) -> Any:
    """Unpickle an entry. RUNS CODE: only for bytes whose digest a trusted signer vouched for."""
    return pickle.loads(payload)  # noqa: S301


def run_entry(entry: Any, run_source: Callable[[Any, str], types.ModuleType]) -> Callable[..., Any]:
    """Turn an unpickled entry into the callable that it was.

    As torch's `deserialize_bundled_cache_entry`, but for three things: the entry isn't copied first (we don't
    serialise it again), nothing is written to the Inductor cache, and the generated source is run by
    `run_source` from memory, so that a stale file in that cache can't stand in for it.
    """
    from torch._inductor.cudagraph_utils import BoxedDeviceIndex
    from torch._inductor.utils import BoxedBool

    check_signatures()
    for graph in compiled_graphs(entry):
        graph.after_deserialization = functools.partial(_after_deserialization, graph, run_source)
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


def _after_deserialization(
    graph: Any, run_source: Callable[[Any, str], types.ModuleType], constants: Any
) -> str:
    module = run_source(graph, graph.source_code)
    for name, value in constants.unwrap(graph).items():
        setattr(module, name, value)
    graph.current_callable = module.call
    graph.recursively_apply_fns = getattr(module, "recursively_apply_fns", None)
    graph.compiled_fn_runner = getattr(module, "runner", None)
    return str(module.__file__)


ProvideNative = Callable[[list[str], str, Callable[[str], Any]], Any]
"""(argument types, C++ source, what torch would do with a source) -> the kernel, or a future of it."""

_NATIVE: ContextVar[ProvideNative | None] = ContextVar("inductory_native", default=None)


@contextlib.contextmanager
def native_kernels(provide: ProvideNative) -> Iterator[None]:
    """While generated source runs in this context, have `provide` supply its native kernels."""
    _install_native_hook()
    token = _NATIVE.set(provide)
    try:
        yield
    finally:
        _NATIVE.reset(token)


@functools.cache
def _install_native_hook() -> None:
    from torch._inductor.async_compile import AsyncCompile

    stock = AsyncCompile.cpp_pybinding

    @functools.wraps(stock)
    def cpp_pybinding(self: Any, argtypes: list[str], source_code: str) -> Any:
        provide = _NATIVE.get()
        if provide is None:
            return stock(self, argtypes, source_code)
        return provide(argtypes, source_code, functools.partial(stock, self, argtypes))

    AsyncCompile.cpp_pybinding = cpp_pybinding


def address_of_data_ptr() -> str:
    """Return what Inductor's native kernels are told of torch: the address of a function, as text."""
    return str(torch._C._dynamo.guards._torchinductor_pyobject_tensor_data_ptr)


def counters() -> dict[str, dict[str, int]]:
    """Return Dynamo's counters, Inductor's among them."""
    from torch._dynamo.utils import counters as found

    return {name: dict(values) for name, values in found.items()}
