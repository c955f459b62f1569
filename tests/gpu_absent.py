"""A GPU that isn't there: torch and Triton compile for one, and what is launched on it is written down.

What stands in is the device and its driver: what torch.cuda says of it, its memory (the host's), loading
machine code and launching it. Inductor, Triton and ptxas do all their work, and so does everything of ours.
What only a device can do isn't done: nothing is timed, and no kernel computes anything.

`pretend` changes the process for good: call it in one that was started for it, before anything of torch but
`torch` itself is imported.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

SOURCE = Path(__file__).with_suffix(".cpp")

H200 = {
    "name": "NVIDIA H200",
    "major": 9,
    "minor": 0,
    "multi_processor_count": 132,
    "regs_per_multiprocessor": 65536,
    "max_threads_per_multi_processor": 2048,
    "max_threads_per_block": 1024,
    "warp_size": 32,
    "total_memory": 150_000_000_000,
    "L2_cache_size": 62_914_560,
    "shared_memory_per_block": 49152,
    "shared_memory_per_block_optin": 232_448,
    "shared_memory_per_multiprocessor": 233_472,
    "gcnArchName": "",
}

_RETURNS_MODULE = not torch.__version__.startswith("2.11.")
"""Torch 2.13 returns a loaded kernel's module, too."""

STREAMS = 7000
"""The stream of device 0; that of device 1 is one more."""


@dataclass(frozen=True)
class Launched:
    """One launch, as the driver would see it. What lies in memory is told by its layout."""

    kernel: str
    device: int
    grid: tuple[int, int, int]
    warps: int
    shared: int
    types: str
    arguments: tuple[Any, ...]
    stream: int


@dataclass
class AbsentGpus:
    """The driver: `count` devices, which of them is the current one, and what they were told."""

    count: int
    current: int = 0
    loaded: list[tuple[str, int]] = field(default_factory=list)
    launches: list[Launched] = field(default_factory=list)

    def exchange(self, index: int) -> int:
        before = self.current
        if index >= self.count:
            raise RuntimeError("CUDA error: invalid device ordinal")
        if index >= 0:
            self.current = index
        return before

    # As torch._C._StaticCudaLauncher, whose names and signatures these are.

    def _load_kernel(self, path: str, name: str, shared: int, device: int) -> tuple[int, ...]:
        with open(path, "rb") as file:
            data = file.read()
        if self.current != device:
            raise RuntimeError("CUDA driver error: invalid context")
        if not _is_whole(data):
            raise RuntimeError("CUDA driver error: device kernel image is invalid")
        if name.encode() not in data:
            raise RuntimeError("CUDA driver error: named symbol not found")
        self.loaded.append((name, device))
        found = (1, len(self.loaded) - 1, 32, 0)
        return found if _RETURNS_MODULE else found[1:]

    def _unload_kernel(self, module: int) -> None:
        pass

    def _launch_kernel(
        self,
        function: int,
        x: int,
        y: int,
        z: int,
        warps: int,
        shared: int,
        types: str,
        arguments: tuple[Any, ...],
        stream: int,
    ) -> None:
        name, device = self.loaded[function]
        if len(types) != len(arguments):
            raise RuntimeError("CUDA driver error: invalid argument")
        told = tuple(_told(argument) for argument in arguments)
        self.launches.append(Launched(name, device, (x, y, z), warps, shared, types, told, stream))


def _is_whole(image: bytes) -> bool:
    """Whether machine code is all there: its table of sections, which ELF's header names, stands last."""
    if image[:5] != b"\x7fELF\x02" or len(image) < 64:
        return False
    programs, sections = struct.unpack_from("<QQ", image, 32)
    size_program, programs_count, size_section, sections_count = struct.unpack_from("<HHHH", image, 54)
    return len(image) >= max(
        programs + size_program * programs_count, sections + size_section * sections_count
    )


def _told(argument: Any) -> Any:
    if isinstance(argument, torch.Tensor):
        return [str(argument.dtype), list(argument.shape), list(argument.stride())]
    return argument


def build_driver(folder: Path) -> Path:
    """Compile the library that stands in for the driver's own, and return where it is."""
    path = folder / "libcuda.so.1"
    from torch.utils.cpp_extension import include_paths, library_paths

    headers = [f"-I{place}" for place in include_paths()]
    libraries = [f"-L{place}" for place in library_paths()]
    command = [
        "g++",
        "-shared",
        "-fPIC",
        "-std=c++20",
        str(SOURCE),
        "-o",
        str(path),
        f"-Wl,-soname,{path.name}",
    ]
    subprocess.run([*command, *headers, *libraries, "-lc10"], check=True)
    return path


def pretend(library: Path, count: int = 2, **properties: Any) -> AbsentGpus:
    """Have this process believe in `count` GPUs, H200s but for `properties`. See above: it is for good.

    `library` is what `build_driver` made. It says that it runs CUDA ABSENT_CUDA_DRIVER (13000 is 13.0).
    """
    ctypes.CDLL(str(library))  # and whoever asks for one of its name is given it
    driver = AbsentGpus(count)
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # workers wouldn't believe it
    found = SimpleNamespace(**(H200 | properties))
    _pretend_to_torch(driver, found)
    _pretend_to_triton(found)
    _pretend_to_inductor()
    return driver


def _pretend_to_torch(driver: AbsentGpus, found: SimpleNamespace) -> None:
    torch.version.cuda = "13.0"
    cuda: Any = torch.cuda
    cuda._initialized = True
    cuda._lazy_init = lambda: None
    cuda.is_available = lambda: True
    cuda.device_count = lambda: driver.count
    cuda.current_device = lambda: driver.current
    cuda.get_device_properties = lambda device=None: found
    cuda.get_rng_state = lambda device=0: torch.zeros(16, dtype=torch.uint8)
    cuda.set_rng_state = lambda state, device=0: None
    # Two functions, as Dynamo tells them apart.
    cuda._exchange_device = lambda index: driver.exchange(index)
    cuda._maybe_exchange_device = lambda index: driver.exchange(index)
    native: Any = torch._C
    native._cuda_setDevice = driver.exchange
    native._cuda_synchronize = lambda: None
    native._cuda_getCurrentRawStream = lambda device: STREAMS + device
    native._StaticCudaLauncher = driver
    native._dynamo.guards._empty_strided_cuda = lambda size, stride, dtype: torch.empty_strided(
        size, stride, dtype=dtype
    )
    import torch._subclasses.fake_tensor as fake_tensor

    fake_tensor.init_gpu_context = lambda device: None
    # As where torch sees no device: nothing is made on one, not even for a moment.
    fake_tensor.FakeTensorMode.avoid_device_init = True  # type: ignore[method-assign,assignment]


def _pretend_to_triton(found: SimpleNamespace) -> None:
    try:
        import triton
    except ImportError:
        return  # a node that only loads needs none
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.driver import CudaDriver

    class Driver(CudaDriver):  # type: ignore[misc]
        def __init__(self) -> None:
            self.utils = None

        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", found.major * 10 + found.minor, found.warp_size)

    CudaDriver.is_active = staticmethod(lambda: True)
    triton.runtime.driver.set_active(Driver())


def _pretend_to_inductor() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch imports what it deprecates itself
        import torch._inductor.fx_passes.joint_graph as joint_graph
        import torch._inductor.fx_passes.post_grad as post_grad
    from torch._inductor.codegen.wrapper import PythonWrapperCodegen

    # Patterns are traced with small tensors of the device; those of the host do as well.
    for module in (joint_graph, post_grad):
        _trace_patterns_on_the_host(module)
    # It times kernels: with one configuration each there is nothing to choose.
    PythonWrapperCodegen.generate_and_run_autotune_block = lambda self: None  # type: ignore[method-assign]


def _trace_patterns_on_the_host(module: Any) -> None:
    stock = module.lazy_init

    def lazy_init(*arguments: Any) -> Any:
        cuda: Any = torch.cuda
        there, cuda.is_available = cuda.is_available, lambda: False
        try:
            return stock(torch.device("cpu"))
        finally:
            cuda.is_available = there

    module.lazy_init = lazy_init
