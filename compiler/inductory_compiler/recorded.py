"""The kernels that torch makes while it compiles a piece, kept to travel with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from inductory_client.graph import torch_private
from inductory_client.graph.kernel_file import encode_kernel, kernel_name
from inductory_client.graph.native import native_name
from inductory_client.graph.unsupported import Unsupported

_ONE_NAME = '#line 1 "kernel.cpp"\n'
"""Before a native source: or its checks would name the builder's folder, and the bytes would differ by it."""


class RecordedKernels:
    """A KernelProvider that lets torch do its work, and remembers what came of it."""

    def __init__(self) -> None:
        self._natives: dict[str, Any] = {}
        self._triton: dict[str, Any] = {}

    def native(self, argtypes: list[str], source: str, stock: Callable[[str], Any]) -> Any:
        made = self._natives[native_name(argtypes, source)] = stock(_ONE_NAME + source)
        return made

    def triton(self, name: str, source: str, stock: Callable[[], Any]) -> Any:
        made = self._triton[source] = torch_private.once(stock())
        return made

    def tune(self, run: Callable[[], object]) -> bool:
        """Run the piece once where a kernel is tuned by its first run; whether that was so."""
        if not any(torch_private.needs_tuning(_resolved(made)) for made in self._triton.values()):
            return False
        run()
        return True

    def native_files(self) -> dict[str, bytes]:
        """Return the shared libraries, by name; waits for those that are still being compiled."""
        found: dict[str, bytes] = {}
        for name, made in self._natives.items():
            with open(_resolved(made).__self__.__file__, "rb") as file:
                found[name] = file.read()
        return found

    def kernel_files(self, sources: Sequence[str]) -> dict[str, bytes]:
        """Return the tuned kernels that `sources` were compiled to, by name. Raises Unsupported."""
        found: dict[str, bytes] = {}
        for source in sources:
            if source not in self._triton:
                raise Unsupported("generated code has a kernel that wasn't seen when it was compiled")
            found[kernel_name(source)] = encode_kernel(
                torch_private.launch_of(_resolved(self._triton[source]))
            )
        return found


def _resolved(made: Any) -> Any:
    return made.result() if hasattr(made, "result") else made
