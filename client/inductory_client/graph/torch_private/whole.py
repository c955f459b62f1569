"""A function captured in one graph, with the code around it and the guards on it: what Dynamo knows, outside
of torch.compile.
"""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

import builtins
import contextlib
import dis
import importlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.fx

from inductory_client.graph.unsupported import Bound, Unsupported

BUILTINS = "__builtins_dict__"
"""How the name of the global begins under which captured code finds the builtins."""


class WholeGraph:
    """A function captured in one graph. Usable while `whole_graph` lasts."""

    def __init__(self, function: Callable[..., Any], captured: Any) -> None:
        self.function = function
        self.output = captured.graph_capture_output
        self.backend_id = str(captured.backend_input.backend_id)
        self.module: torch.fx.GraphModule = captured.backend_input.graph_module
        self.inputs: list[Any] = list(captured.backend_input.example_inputs)
        self.globals: Mapping[str, Any] = self.output.f_globals

    @property
    def traced_code(self) -> Sequence[types.CodeType]:
        """The code of every function that was traced through."""
        return list(self.output.traced_code)

    def guards(self) -> Any:
        """Return the guard manager with every guard that Dynamo has. Its `check` takes the locals."""
        return self.build_guards().guard_manager

    def build_guards(self, **options: Any) -> Any:
        """Have Dynamo build its guards, with `options` of its own; some look at the modes that are on."""
        with modes_back():
            return self.output.build_guards(self.function.__code__, **options)

    def runner(self, compiled: Callable[..., Any]) -> Callable[..., Any]:
        """Return the captured function, running `compiled` in place of its graph."""
        env = self.output.get_runtime_env()
        # torch 2.11 leaves builtins in the code, and wants them among the globals.
        references = {name: vars(builtins)[name] for name in env.external_refs if name in vars(builtins)}
        fn: Callable[..., Any] = env.forward_callable(
            self.backend_id, compiled, extra_globals={**references, **self.globals}
        )
        return fn

    def code(self) -> types.CodeType:
        """Return the code around the graph. Raises Unsupported where it holds values of the process."""
        if self.output.closure or self.output.argdefs or self.output.kwdefaults:
            raise Unsupported("the captured function has a closure or defaults")
        sources = self.output.output_graph.export_metadata.graph_input_idx_to_local_source.values()
        from torch._dynamo.source import get_global_source_name

        held = sorted({name for name in map(get_global_source_name, sources) if name is not None})
        if held:
            raise Unsupported(f"the graph takes a global as its input: {held[0]}")
        code: types.CodeType = self.output.bytecode
        return code

    def named_globals(self) -> set[str]:
        """Return the names of the globals that the code around the graph uses, the graph's own among them."""
        return {
            str(step.argval)
            for step in dis.get_instructions(self.output.bytecode)
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval
        }


@contextlib.contextmanager
def whole_graph(
    function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Iterator[WholeGraph]:
    """Capture a call of `function` in one graph, and be as in a Dynamo backend while the block lasts.

    Lengths vary where a dimension is marked, and nowhere else: what is captured depends on the call alone,
    and not on what this process captured before. Raises Unsupported where it can't be one graph, Bound where
    its lengths can't vary as they are marked, and what the function raises.
    """
    from torch._dynamo import convert_frame
    from torch._dynamo.exc import TorchDynamoException
    from torch._dynamo.utils import dynamo_timed, get_metrics_context
    from torch.fx.experimental.symbolic_shapes import ConstraintViolationError

    settings = {"automatic_dynamic_shapes": False, "enable_cpp_symbolic_shape_guards": False}
    with contextlib.ExitStack() as stack:
        for context in (
            torch._dynamo.config.patch(settings),
            get_metrics_context(),
            dynamo_timed("inductory_whole_graph"),
            convert_frame.compile_lock,  # as whatever else Dynamo compiles in this process
        ):
            stack.enter_context(context)
        modes, by_itself = convert_frame.torch_function_mode_stack_state_mgr, _puts_modes_away()
        if not by_itself:
            stack.enter_context(modes)
        try:
            captured = convert_frame.fullgraph_capture(function, arguments, keywords)
        except TorchDynamoException as error:
            raise Unsupported(f"it can't be captured in one graph: {_first_line(error)}") from error
        if by_itself:  # while it captures, and no longer; entered twice, they would be lost
            stack.enter_context(modes)
        given = captured.backend_input
        if given is None:
            raise Unsupported("the graph computes nothing")
        tracing = torch._guards.TracingContext(given.fake_mode)
        tracing.tensor_to_context = given.tensor_to_context
        stack.enter_context(torch._guards.tracing(tracing))
        whole = WholeGraph(function, captured)
        try:
            whole.guards()
        except ConstraintViolationError as error:
            raise Bound(f"lengths can't vary as they were to: {_first_line(error)}") from error
        yield whole


def _puts_modes_away() -> bool:
    """Whether `fullgraph_capture` itself puts away modes of torch's functions (a default device), as in torch
    2.11.
    """
    from torch._dynamo import convert_frame

    inner = convert_frame.preserve_global_state.__code__.co_consts
    codes = [code for code in inner if isinstance(code, types.CodeType)]
    return any("torch_function_mode_stack_state_mgr" in code.co_names for code in codes)


def modes_back() -> contextlib.AbstractContextManager[None]:
    """Have the modes on again that are put away while something is captured, where any are."""
    from torch._dynamo.convert_frame import torch_function_mode_stack_state_mgr as manager

    found: contextlib.AbstractContextManager[None] = (
        manager.temp_restore_stack() if manager.stack else contextlib.nullcontext()
    )
    return found


def is_transformed() -> bool:
    """Whether calls are transformed or watched from outside, by functorch, forward-mode gradients or modes:
    Dynamo's guards say little of that.
    """
    from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
    from torch.overrides import _get_current_function_mode_stack
    from torch.utils._device import DeviceContext
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    return bool(
        retrieve_all_functorch_interpreters()
        or torch.autograd.forward_ad._current_level >= 0
        or _get_current_dispatch_mode_stack()
        or any(not isinstance(mode, DeviceContext) for mode in _get_current_function_mode_stack())
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def live_globals(named: Mapping[str, str | None]) -> dict[str, Any]:
    """Return globals by alias: the module of that name, or for None the dictionary of the builtins.

    Imports what isn't imported yet. Raises ImportError.
    """
    return {
        alias: vars(builtins) if name is None else importlib.import_module(name)
        for alias, name in named.items()
    }


def dynamo_settings() -> dict[str, Any]:
    """Return every setting of Dynamo that may decide what is captured, by name."""
    import torch._dynamo.config as config

    kept: dict[str, Any] = config.save_config_portable()
    return {name: value for name, value in kept.items() if name not in _PLACES}


_PLACES = frozenset({"base_dir", "debug_dir_root", "log_file_name"})
# Folders: they say where something is written.
