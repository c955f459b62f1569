"""Native kernels of CPU artifacts: shared libraries that the payload's C++ would otherwise be compiled to.

Inductor names them by a hash that holds the compiler's whole command line, include paths too, so another
install prefix would miss them. Here a native file is named by the digest of its argument types and C++
source, which says what it does, wherever torch is installed.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from collections.abc import Callable
from typing import Any

from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import LoadFailed
from inductory_client.fork import ForkLock

from . import torch_private

ENTRY = "kernel"
"""What Inductor calls the entry of every native kernel (and so `PyInit_kernel`)."""


def native_name(argtypes: list[str], source: str) -> str:
    """Return the name of the native file that `source` compiles to."""
    return digest_of_json({"argtypes": argtypes, "source": source})


class NativeLibraries:
    """Maps verified shared libraries into this process, each once, and gives out their kernels.

    A library is mapped from memory that nobody else can reach (memfd), so what is mapped is what was
    verified, and no folder needs to allow execution. The file descriptors stay open: the loader tells
    libraries apart by path.
    """

    def __init__(self) -> None:
        self._kernels: dict[str, Callable[..., Any]] = {}
        self._lock = ForkLock()

    def kernel(self, data: bytes) -> Callable[..., Any]:
        """Map `data` and return its kernel. RUNS CODE: only for verified bytes. Raises LoadFailed."""
        digest = digest_of(data)
        with self._lock:
            found = self._kernels.get(digest)
            if found is None:
                try:
                    found = self._kernels[digest] = _map(digest, data)
                except (OSError, ImportError, AttributeError) as error:
                    raise LoadFailed(f"a native kernel couldn't be mapped: {error}") from error
        return found


def _map(digest: str, data: bytes) -> Callable[..., Any]:
    descriptor = os.memfd_create(f"inductory-{digest[:16]}", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    # Inductor's kernels ask the environment for the address of the one function of torch that they call.
    os.environ["_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR"] = torch_private.address_of_data_ptr()
    name, path = f"inductory_{digest}.{ENTRY}", f"/proc/self/fd/{descriptor}"
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return getattr(module, ENTRY)  # type: ignore[no-any-return]


LIBRARIES = NativeLibraries()
"""Of this process: equal kernels of different graphs are mapped once."""
