"""What Dynamo captured: the module, the symbols of its sizes, and the conditions on them."""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import sympy
import torch
import torch._dynamo
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._sympy.numbers import int_oo


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


def was_written(value: torch.Tensor) -> bool:
    """Whether a fake tensor was written to since it was made; so be it where that isn't counted."""
    return value.is_inference() or value._version > 0


def wraps_plain(value: torch.Tensor) -> bool:
    """Whether a fake parameter or buffer is nothing but that (Dynamo makes subclasses of its own for
    them).
    """
    return isinstance(value, FakeTensor) and type(value).__module__.startswith("torch.")


def generated_graphs() -> int:
    """Return how many graphs Inductor generated code for in this process: loads from a cache don't count."""
    from torch._dynamo.utils import compilation_time_metrics

    return len(compilation_time_metrics.get("GraphLowering.codegen", ()))


def counters() -> dict[str, dict[str, int]]:
    """Return Dynamo's counters, Inductor's among them."""
    from torch._dynamo.utils import counters as found

    return {name: dict(values) for name, values in found.items()}
