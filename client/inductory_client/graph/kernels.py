"""The kernels of an artifact, given out to its generated source: verified files, and never a compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inductory_client.contract.errors import LoadFailed

from .kernel_file import LoadedKernel, decode_kernel
from .native import LIBRARIES, native_name


class ArtifactKernels:
    """A KernelProvider that gives out `files`, by the names that their sources have."""

    def __init__(self, files: Mapping[str, bytes], device: int | None) -> None:
        """`device` is the index of the GPU that the artifact is loaded for, if it is for one."""
        self._files = files
        self._device = device

    def native(self, argtypes: list[str], source: str, stock: Callable[[str], Any]) -> Any:
        """Return the function that is `source` in C++. Raises LoadFailed."""
        return LIBRARIES.kernel(self._file(native_name(argtypes, source)))

    def triton(self, name: str, source: str, stock: Callable[[], Any]) -> Any:
        """Return what launches the kernel whose name stands for its source. Raises LoadFailed."""
        if self._device is None:
            raise LoadFailed(f"the artifact has the GPU kernel {name}, and is for no GPU")
        return LoadedKernel(decode_kernel(self._file(source)), self._device)

    def _file(self, name: str) -> bytes:
        data = self._files.get(name)
        if data is None:
            raise LoadFailed("the artifact lacks a kernel that its source needs")
        return data
