"""The factors of this machine and its software: what else than the graph decides the code."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from inductory_client.ahead import Ahead
from inductory_client.contract.digest import digest_of
from inductory_client.contract.target import Target
from inductory_client.machine import machine_factors
from inductory_client.triton_settings import triton_settings

from . import torch_private
from .unsupported import Unsupported

# What GCC's -march=native may turn into instructions; the rest of /proc/cpuinfo's flags is about the kernel,
# mitigations and virtualisation, and differs between machines that run the same code.
_ISA_FLAG = re.compile(
    r"abm|adx|aes|amx_\w+|asimd\w*|avx\w*|bf16|bmi[12]|cldemote|clflushopt|clwb|cmov|cx16|enqcmd|f16c|fma\w*|fp16|"
    r"fphp|gfni|i8mm|lahf_lm|lzcnt|mmx|movbe|movdir\w+|pclmulqdq|pku|pni|popcnt|prefetch\w*|ptwrite|rdpid|rdrand|rdseed|"
    r"serialize|sha_ni|sha\d*|sse\w*|ssse3|sve\w*|tbm|vaes|vpclmulqdq|waitpkg|xop|xsave\w*"
)


def current_target(devices: Iterable[torch.device | str]) -> Target:
    """Return the target of this process for graphs on `devices`. Raises Unsupported for one that it can't
    describe.

    Grad mode isn't among the factors: pieces are compiled and keyed without gradients, and graphs that need
    them aren't touched. The device's own factors are there only for the devices that a graph uses.
    """
    return Target(_factors(map(torch.device, devices)) | _configuration())


def bare_target(devices: Iterable[torch.device]) -> Target:
    """Return the target for keys that hold torch's configuration already. Raises Unsupported."""
    return Target(_factors(devices))


def process_target() -> Target:
    """Return the bare target of whatever this process compiles.

    Who makes such keys doesn't say for which devices something is. So the CPU's factors are there, for code
    around kernels is made for it, and those of the GPU that is current, which torch's own keys name, too.
    Raises Unsupported where there is another accelerator.
    """
    devices = [torch.device("cpu")]
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        devices.append(torch.device(accelerator.type, torch.accelerator.current_device_index()))
    return bare_target(devices)


def _factors(devices: Iterable[torch.device]) -> dict[str, str]:
    factors = dict(_SOFTWARE.value())
    for device in sorted(devices, key=str):
        factors.update(_device(device))
        factors.update(_autocast(device.type))
    return factors | _modes()


def begin() -> None:
    """Begin to read what takes long: torch and Triton are hashed file by file, for half a second.

    What that needs is imported here: a thread that imported parts of torch could meet them half made.
    """
    torch_private.import_keys()
    _SOFTWARE.begin()


def _software() -> dict[str, str]:
    # First what takes longest: an engine that keys its model itself asks torch for just that, and would
    # hash hundreds of megabytes of Triton once more if we weren't done.
    triton_key = torch_private.triton_key()
    return {
        "torch.version": str(torch.__version__),
        "torch.key": torch_private.torch_key(),
        "triton.key": triton_key,
        "python.version": platform.python_version(),
    } | machine_factors()


_SOFTWARE = Ahead(_software)


def _device(device: torch.device) -> dict[str, str]:
    if device.type == "cpu":
        return {
            "cpu.capability": torch.backends.cpu.get_cpu_capability(),
            "cpu.features": _cpu_features(),
            # Inductor bakes it into parallel regions, and makes none for one thread.
            "cpu.threads": str(torch.get_num_threads()),
        }
    if device.type == "cuda" and torch.version.hip is None:
        return _cuda(device.index or 0)
    raise Unsupported(f"graphs on {device.type!r} aren't keyed yet")


def _cuda(index: int) -> dict[str, str]:
    """Return what decides the code for a GPU. Not its index, which a load puts in, and not the driver, of
    which an artifact requires a least version.
    """
    assembler = {"triton.ptxas": torch_private.assembler_factor(index)}
    return torch_private.device_factors(index) | triton_settings() | assembler


@cache
def _cpu_features() -> str:
    """Return the instruction-set extensions of this CPU: native files are compiled for all that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return " ".join(sorted({flag for flag in flags.split() if _ISA_FLAG.fullmatch(flag)}))


def _autocast(device: str) -> dict[str, str]:
    if not torch.is_autocast_enabled(device):
        return {}
    return {f"autocast.{device}": str(torch.get_autocast_dtype(device))}


def _modes() -> dict[str, str]:
    """Return what else may be switched in a process and changes code; most of it stands at its default."""
    modes: dict[str, Any] = {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "deterministic.fill": torch_private.fills_uninitialised_memory(),
        "matmul.precision": _matmul_precision(),
        "default.dtype": str(torch.get_default_dtype()),
        "mkldnn": torch.backends.mkldnn.enabled,
    }
    return {name: str(value) for name, value in modes.items()}


def _matmul_precision() -> str:
    """Return the precision of products of float32, by whichever of torch's two ways it was set."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # by the newer: a precision a backend
        backends: Any = torch.backends
        cuda, mkldnn = backends.cuda.matmul, backends.mkldnn.matmul
        return f"cuda {cuda.fp32_precision}, mkldnn {mkldnn.fp32_precision}"


def _configuration() -> dict[str, str]:
    settings, defaults = torch_private.configuration(), torch_private.configured_defaults()
    changed = {name: _text(value) for name, value in settings.items() if value != defaults[name]}
    # The digest decides; the differences are there to explain a miss, as far as torch knows them.
    changed["configuration"] = digest_of(json.dumps(settings, sort_keys=True, default=_text).encode())
    for name, custom_pass in torch_private.custom_passes().items():
        changed[f"pass.{name}"] = _pass_uuid(name, custom_pass)
    return changed


def _pass_uuid(name: str, custom_pass: Any) -> str:
    uuid = custom_pass.uuid() if callable(getattr(custom_pass, "uuid", None)) else None
    if uuid is None:
        raise Unsupported(f"the custom pass {name} doesn't say who it is (it needs a uuid())")
    return uuid.hex() if isinstance(uuid, bytes) else str(uuid)


def _text(value: Any) -> str:
    """Return a setting's value as text that is equal in every process. Raises Unsupported for what has
    none.
    """
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        text = repr(value)
        if " at 0x" in text:
            raise Unsupported(
                f"a setting of torch holds {type(value).__name__}, which can't be keyed"
            ) from None
        return text


def canonical_options(options: dict[str, Any]) -> dict[str, str]:
    """Return compile options as they stand in a key. Raises Unsupported."""
    return {name: _text(value) for name, value in sorted(options.items())}
