"""Every private name of torch that sharing needs, for the compiler too. Nothing else may touch one, but for
`torch_stock`, which works where this can't.

Read in torch 2.11 and 2.13. In a torch where something moved, importing this module or the first compile or
load raises ImportError, naming it; the graph is then left to stock Inductor.
"""

from torch._ops import OpOverload, OpOverloadPacket
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from .autocast import kept_autocast
from .capture import (
    capture_name,
    captured_code,
    counters,
    expression_of,
    guards_of,
    hint_of,
    holds,
    is_backed,
    mark_dynamic,
    shape_env_of,
    symbol_range,
    traced_module,
    was_written,
    wraps_plain,
)
from .compiling import compile_cache, compile_entry, fake_inputs, propagate
from .configuration import (
    configuration,
    configured_defaults,
    custom_passes,
    fills_uninitialised_memory,
    freezes_weights,
    torch_key,
    triton_key,
)
from .entries import (
    address_of_data_ptr,
    check_signatures,
    compiled_graphs,
    run_entry,
    unpickle_entry,
)
from .functions import (
    enables_gradients,
    higher_order_op_name,
    names_process_group,
    op_schema,
    op_tags,
    overloads,
    packet_name,
    symbolic_functions,
    tensor_functions,
    traced_into,
)
from .gpu import (
    Launch,
    assembler_factor,
    device_factors,
    device_props_pattern,
    driver_version,
    launch_of,
    launcher,
    load_cubin,
    needs_tuning,
    once,
    records_cuda_graphs,
    static_launchers,
    triton_settings,
    without_line_numbers,
)
from .providing import KernelProvider, provided_kernels

__all__ = [
    "FakeTensor",
    "FakeTensorMode",
    "KernelProvider",
    "Launch",
    "OpOverload",
    "OpOverloadPacket",
    "ShapeEnv",
    "address_of_data_ptr",
    "assembler_factor",
    "capture_name",
    "captured_code",
    "check_signatures",
    "compile_cache",
    "compile_entry",
    "compiled_graphs",
    "configuration",
    "configured_defaults",
    "counters",
    "custom_passes",
    "device_factors",
    "device_props_pattern",
    "driver_version",
    "enables_gradients",
    "expression_of",
    "fake_inputs",
    "fills_uninitialised_memory",
    "freezes_weights",
    "guards_of",
    "higher_order_op_name",
    "hint_of",
    "holds",
    "is_backed",
    "kept_autocast",
    "launch_of",
    "launcher",
    "load_cubin",
    "mark_dynamic",
    "names_process_group",
    "needs_tuning",
    "once",
    "op_schema",
    "op_tags",
    "overloads",
    "packet_name",
    "propagate",
    "provided_kernels",
    "records_cuda_graphs",
    "run_entry",
    "shape_env_of",
    "static_launchers",
    "symbol_range",
    "symbolic_functions",
    "tensor_functions",
    "torch_key",
    "traced_into",
    "traced_module",
    "triton_key",
    "triton_settings",
    "unpickle_entry",
    "was_written",
    "without_line_numbers",
    "wraps_plain",
]
