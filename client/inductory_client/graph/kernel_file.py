"""Triton kernels as they travel: the tuned machine code, and how to launch it.

Nothing of Triton is needed to load one, and nothing is tuned, compiled or looked up in a folder. A kernel is
named by the digest of its source, as it is generated for device 0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.contract.errors import LoadFailed

from . import torch_private

KERNEL_VERSION = 1

_ON_DEVICE = re.compile(torch_private.device_props_pattern())


class Kernel(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kernel, in one configuration."""

    version: int = KERNEL_VERSION
    name: str
    """The entry in the machine code."""
    parameters: tuple[str, ...]
    """What generated code passes, in order, but for the stream."""
    arguments: tuple[str, ...]
    """What of it the machine code takes, in order."""
    types: str
    """A letter an argument, as torch's static launcher reads them."""
    warps: Annotated[int, Meta(ge=1, le=64)]
    shared: Annotated[int, Meta(ge=0)]
    """Bytes of shared memory."""
    prefix: tuple[str, ...]
    """Statements that the grid needs."""
    grid: tuple[str, str, str]
    """Expressions over the parameters: blocks along x, y and z."""
    config: str
    """The configuration that was chosen, to read."""
    cubin: bytes


def kernel_name(source: str) -> str:
    """Return the name of the kernel that `source` compiles to, on whichever device of a machine."""
    return digest_of_json({"triton": for_device_0(source)})


def for_device_0(source: str) -> str:
    """Return a kernel's source as it is generated for device 0."""
    return _ON_DEVICE.sub(r"\g<1>0", source)


def encode_kernel(launch: torch_private.Launch) -> bytes:
    """Return the file that a tuned kernel travels in. Deterministic."""
    fields = {name: getattr(launch, name) for name in Kernel.__struct_fields__ if name != "version"}
    return msgspec.msgpack.encode(Kernel(**fields))


def decode_kernel(data: bytes) -> Kernel:
    """Read what `encode_kernel` wrote. Raises LoadFailed."""
    try:
        kernel = msgspec.msgpack.decode(data, type=Kernel)
    except msgspec.DecodeError as error:
        raise LoadFailed(f"a kernel's file can't be read: {error}") from error
    if kernel.version != KERNEL_VERSION:
        raise LoadFailed(f"a kernel's file is of version {kernel.version}, not {KERNEL_VERSION}")
    if len(kernel.types) != len(kernel.arguments):
        raise LoadFailed("a kernel's file doesn't say of each argument what it is")
    return kernel


class LoadedKernel:
    """What generated code calls: `run(*arguments, stream=...)`."""

    def __init__(self, kernel: Kernel, device: int) -> None:
        """Load the machine code onto a device. RUNS CODE: only for verified bytes. Raises LoadFailed."""
        self.name = kernel.name
        self.run: Callable[..., None] = _launcher(kernel, _load(kernel, device))


def _load(kernel: Kernel, device: int) -> int:
    """Hand the machine code to the driver, from memory that nobody else can reach."""
    descriptor = os.memfd_create("inductory-cubin", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(kernel.cubin)
        return torch_private.load_cubin(f"/proc/self/fd/{descriptor}", kernel.name, kernel.shared, device)
    except (OSError, RuntimeError) as error:
        raise LoadFailed(f"the driver doesn't take the kernel {kernel.name}: {error}") from error
    finally:
        os.close(descriptor)


def _launcher(kernel: Kernel, function: int) -> Callable[..., None]:
    """Return a function of the generated code's arguments and the stream, with nothing left to decide."""
    lines = [
        f"def run({', '.join((*kernel.parameters, 'stream'))}):",
        *kernel.prefix,
        f"launch(function, {', '.join(kernel.grid)}, {kernel.warps}, {kernel.shared}, types,",
        f"    ({''.join(f'{argument}, ' for argument in kernel.arguments)}), stream)",
    ]
    scope: dict[str, Any] = {
        "launch": torch_private.launcher(),
        "function": function,
        "types": kernel.types,
    }
    exec(compile("\n    ".join(lines), f"<{kernel.name}>", "exec", dont_inherit=True), scope)  # noqa: S102
    return scope["run"]  # type: ignore[no-any-return]
