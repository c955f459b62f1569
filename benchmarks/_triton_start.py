"""A start with twelve kernels for an H100 or H200: `python benchmarks/_triton_start.py [prefetch KEYS]`.

Prints JSON: the seconds until all were had, how many were compiled, the bytes that came over sockets, and,
where they are shared through a store, the keys: KEYS is those of another start.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Any

import triton
from _triton_kernels import KERNELS
from triton.backends.compiler import GPUTarget
from triton.runtime.cache import triton_key

GPU = GPUTarget("cuda", 90, 32)


class Counting(socket.socket):
    """A socket of which is known what it received."""

    received = 0

    def recv(self, *arguments: Any) -> bytes:
        data = super().recv(*arguments)
        Counting.received += len(data)
        return data

    def recv_into(self, *arguments: Any) -> int:
        count = super().recv_into(*arguments)
        Counting.received += count
        return count


def main() -> None:
    socket.socket = Counting  # type: ignore[misc]
    # Its remote cache looks for this where Triton 3.6 and 3.7 don't have it.
    triton.knobs.cache.redis = triton.knobs.redis_knobs()
    triton_key()  # every start hashes Triton: it is no part of what differs
    compiled = 0

    def listen(*, cache_hit: bool, **_: Any) -> None:
        nonlocal compiled
        compiled += not cache_hit

    triton.knobs.compilation.listener = listen
    began = time.perf_counter()
    if sys.argv[1:2] == ["prefetch"]:
        from inductory_client.integrations.triton_cache import prefetch

        prefetch(json.loads(sys.argv[2]))
    for function, types, constants in KERNELS:
        names = [*function.arg_names]
        signature = dict(zip(names, [*types, *["constexpr"] * len(constants)], strict=True))
        triton.compile(triton.compiler.ASTSource(function, signature, constants), target=GPU)
    seconds = time.perf_counter() - began
    result: dict[str, Any] = {"seconds": seconds, "compiled": compiled, "bytes": Counting.received}
    if "inductory" in os.environ.get("TRITON_CACHE_MANAGER", ""):
        from inductory_client.integrations.triton_cache import used_keys

        result["used"] = sorted(used_keys())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
