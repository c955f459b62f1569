"""Nodes that start at once: `python benchmarks/_storm_clients.py URL NODES`. Prints JSON.

Each opens a connection, sends one request and reads all of the answer; one in ten checks every byte as a
client does.
"""

from __future__ import annotations

import asyncio
import io
import json
import resource
import statistics
import sys
import time
from urllib.parse import urlsplit

from inductory_client.contract.bundle import read_frames

VERIFIES = 10
BUNDLE_BYTES_MAX = 1 << 30


async def main() -> None:
    url, nodes = sys.argv[1], int(sys.argv[2])
    address = urlsplit(url)
    path = address.path + (f"?{address.query}" if address.query else "")
    request = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode()
    began = time.perf_counter()
    starts = await asyncio.gather(
        *(_start(str(address.hostname), address.port or 80, request, at) for at in range(nodes))
    )
    took = time.perf_counter() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = sorted(each for each, _ in starts)
    print(
        json.dumps(
            {
                "starts_per_s": nodes / took,
                "p50_s": statistics.median(seconds),
                "p99_s": seconds[int(len(seconds) * 0.99)],
                "bytes": sum(size for _, size in starts),
                "cpu_s": usage.ru_utime + usage.ru_stime,
            }
        )
    )


async def _start(host: str, port: int, request: bytes, number: int) -> tuple[float, int]:
    """Return the seconds of one start, and the bytes of its answer."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode(errors="replace"))
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    size = int(lengths[0].split(b":")[1])
    parts, left = [], size
    keeps = number % VERIFIES == 0
    while left:
        part = await reader.read(min(left, 1 << 20))
        if not part:
            raise RuntimeError(f"{left} of {size} bytes never came")
        left -= len(part)
        if keeps:
            parts.append(part)
    writer.close()
    if keeps:
        for _ in read_frames(io.BytesIO(b"".join(parts)), BUNDLE_BYTES_MAX):
            pass
    return time.perf_counter() - began, size


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
