"""CUDA devices and their kernels: what Inductor knows of the first, and how the second are launched."""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc,no-any-return"

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from inductory_client.graph.unsupported import Unsupported

from .compiling import environment


def device_factors(index: int) -> dict[str, str]:
    """Return what Inductor and Triton bake into code of a CUDA device, by name."""
    found = torch.cuda.get_device_properties(index)
    return {
        "cuda.device": found.name,
        "cuda.capability": f"{found.major}.{found.minor}",
        "cuda.multiprocessors": str(found.multi_processor_count),
        "cuda.registers": str(found.regs_per_multiprocessor),
        "cuda.threads": str(found.max_threads_per_multi_processor),
        "cuda.warp": str(found.warp_size),
        "cuda.version": str(torch.version.cuda),
        "cuda.fp32.matmul": str(torch.backends.cuda.matmul.fp32_precision),
        "cuda.fp32.conv": str(torch.backends.cudnn.conv.fp32_precision),
    }


def assembler_factor(index: int) -> str:
    """Return which ptxas assembles kernels for a device: the one that came with Triton or torch, or else its
    version.

    It isn't run unless the user chose one: a node that only loads needs none.
    """
    major = torch.cuda.get_device_properties(index).major
    name = "TRITON_PTXAS_BLACKWELL_PATH" if major >= 10 else "TRITON_PTXAS_PATH"
    path = os.environ.get(name)
    if path is None or path == os.path.join(os.path.dirname(torch.__file__), "bin", "ptxas"):
        return "bundled"
    try:
        from triton.backends.nvidia.compiler import get_ptxas

        return str(get_ptxas(major * 10).version)
    except (ImportError, TypeError, OSError, RuntimeError) as error:
        raise Unsupported(f"{name} names a ptxas whose version can't be told: {error}") from error


def gpu_versions() -> dict[str, str]:
    """Return what artifacts require a least version of: the newest CUDA that the driver runs, as `13.0`."""
    found = ctypes.c_int()
    try:
        # torch doesn't say, and has the library loaded.
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(found))
    except (OSError, AttributeError):
        return {}
    if failed:
        return {}
    version = found.value
    return {"cuda.driver": f"{version // 1000}.{version % 1000 // 10}"}


def gpu_requirements() -> dict[str, str]:
    """Return the least versions that machine code compiled here needs.

    A driver of a major version of CUDA runs machine code of all its minor ones (NVIDIA, CUDA Compatibility).
    """
    return {"cuda.driver": f"{str(torch.version.cuda).partition('.')[0]}.0"}


def records_cuda_graphs(options: Mapping[str, Any]) -> bool:
    """Whether compiled code is to be recorded as CUDA graphs."""
    import torch._inductor.config as config

    return bool(options.get("triton.cudagraphs", config.triton.cudagraphs))


@contextlib.contextmanager
def static_launchers() -> Iterator[None]:
    """Have torch launch Triton kernels without Triton, in a way that `launch_of` can read."""
    import torch._inductor.config as config

    _record_launches()
    # The bundle would carry each kernel of each configuration; ours are taken from the launchers.
    with config.patch({"use_static_triton_launcher": True, "bundle_triton_into_fx_graph_cache": False}):
        yield


_NO_LINES = {"TRITON_DISABLE_LINE_INFO": "1"}


@contextlib.contextmanager
def without_line_numbers() -> Iterator[None]:
    """Compile Triton kernels without the names and lines of the builder's files: half of their bytes.

    Inductor's workers have an environment of their own, of which each task sets a part: what is sent to them
    meanwhile sets this, too.
    """
    from torch._inductor.async_compile import AsyncCompile, get_compile_threads

    with environment(_NO_LINES), contextlib.ExitStack() as stack:
        if get_compile_threads() > 1:
            pool = AsyncCompile.process_pool()
            stock = pool.submit

            def submit(task: Any, *arguments: Any) -> Any:
                return stock(task, *map(_with_no_lines, arguments))

            pool.submit = submit  # type: ignore[assignment]
            stack.callback(delattr, pool, "submit")  # what remains is the class's own
        yield


def _with_no_lines(argument: Any) -> Any:
    is_environment = isinstance(argument, dict) and "TORCHINDUCTOR_CACHE_DIR" in argument
    return argument | _NO_LINES if is_environment else argument


def once(made: Any) -> Any:
    """Return `made`, or, where it is a future, one that does its work once however often it is asked."""
    if hasattr(made, "result_fn"):
        made.result_fn = functools.cache(made.result_fn)
    return made


@dataclass(frozen=True)
class Launch:
    """A Triton kernel as it was tuned: its machine code, and how it is launched."""

    name: str
    parameters: tuple[str, ...]
    """What generated code passes, in order, but for the stream."""
    arguments: tuple[str, ...]
    """Which of them the machine code takes, in order."""
    types: str
    """A letter an argument, as `_StaticCudaLauncher` reads them."""
    warps: int
    shared: int
    """Bytes of shared memory."""
    prefix: tuple[str, ...]
    """Statements that the grid's expressions need."""
    grid: tuple[str, str, str]
    """Python expressions over the parameters."""
    config: str
    """What was tuned, to read."""
    cubin: bytes


@functools.cache
def _record_launches() -> None:
    """From now on, let every launcher that torch makes say how it launches; see `launch_of`."""
    from torch._inductor.runtime.triton_heuristics import CompileResult, GridExpr

    stock = CompileResult._gen_launcher_code

    @functools.wraps(stock)
    def generated(self: Any, scope: Any, def_args: Any, runner_args: Any) -> Any:
        launcher = stock(self, scope, def_args, runner_args)
        grid = GridExpr.from_meta(self.inductor_meta, self.config)
        launcher.inductory_plan = (tuple(def_args), tuple(runner_args), grid)
        return launcher

    CompileResult._gen_launcher_code = generated


def needs_tuning(autotuner: Any) -> bool:
    """Whether a kernel has choices left, which its first run makes."""
    tuned = len(autotuner.launchers) == 1 and (
        not autotuner.inductor_meta.get("coordinate_descent_tuning", False)
        or getattr(autotuner.launchers[0].config, "found_by_coordesc", False)
    )
    return not tuned


def launch_of(autotuner: Any) -> Launch:
    """Return how a tuned kernel is launched. Raises Unsupported where torch itself needs Triton for it."""
    from torch._inductor.runtime.static_triton_launcher import StaticallyLaunchedTritonKernel

    launchers = getattr(autotuner, "launchers", ())
    if len(launchers) != 1:
        raise Unsupported(f"a kernel has {len(launchers)} launchers where one is expected")
    (launcher,) = launchers
    plan = getattr(launcher, "inductory_plan", None)
    kernel = getattr(launcher.__globals__.get("runner"), "__self__", None)
    if plan is None or not isinstance(kernel, StaticallyLaunchedTritonKernel):
        raise Unsupported("a kernel can't be launched without Triton")
    parameters, arguments, grid = plan
    scratch = sum((kernel.has_global_scratch, kernel.has_profile_scratch))
    with open(_cubin_path(autotuner, kernel), "rb") as file:
        cubin = file.read()
    return Launch(
        name=kernel.name,
        parameters=parameters,
        arguments=(*arguments[4:], *("None",) * scratch),  # behind the grid and the stream
        types=kernel.arg_tys + "O" * scratch,
        warps=kernel.num_warps,
        shared=kernel.shared,
        prefix=tuple(grid.prefix),
        grid=(str(grid.x_grid), str(grid.y_grid), str(grid.z_grid)),
        config=str(launcher.config),
        cubin=cubin,
    )


def _cubin_path(autotuner: Any, kernel: Any) -> str:
    from torch._inductor.runtime.cache_dir_utils import triton_cache_dir
    from torch._inductor.runtime.runtime_utils import triton_hash_to_path_key

    folder = triton_cache_dir(autotuner.triton_meta.get("device", 0))
    return os.path.join(folder, triton_hash_to_path_key(kernel.hash), f"{kernel.name}.cubin")


def load_cubin(path: str, name: str, shared: int, index: int) -> int:
    """Load machine code onto a device and return the handle of its kernel. Raises RuntimeError."""
    from torch._C import _StaticCudaLauncher

    with torch.cuda.device(index):
        # torch 2.13 returns the module, too.
        *_, function, _registers, _spills = _StaticCudaLauncher._load_kernel(path, name, shared, index)
    return function


def launcher() -> Callable[..., None]:
    """Return what launches a loaded kernel: (handle, x, y, z, warps, shared, types, arguments, stream)."""
    from torch._C import _StaticCudaLauncher

    return _StaticCudaLauncher._launch_kernel


def device_props_pattern() -> str:
    """Return the regular expression of what, in a kernel's source, says which device it is for."""
    return r"(DeviceProperties\(type='cuda', index=)\d+"
