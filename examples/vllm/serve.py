"""`vllm serve` on two fresh nodes, one after the other, until each is ready for requests.

    INDUCTORY_URL=http://127.0.0.1:8765 python examples/vllm/serve.py [MODEL [ARGUMENTS OF vllm serve ...]]

Without a model, a small Qwen3 with made-up weights and no tokenizer: it takes token ids.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from nodes import nodes, small_model

READY_S_MAX = 900


def main() -> None:
    with nodes() as (shared, each):
        arguments = sys.argv[1:] or _small(str(small_model(shared)))
        for number, environ in each:
            port = _free_port()
            command = ["vllm", "serve", *arguments, "--host", "127.0.0.1", "--port", str(port)]
            began = time.perf_counter()
            with subprocess.Popen(command, env=environ) as server:
                try:
                    ready = _wait_for(f"http://127.0.0.1:{port}/health", server)
                    took = time.perf_counter() - began
                finally:
                    server.terminate()
            if not ready:
                sys.exit("vllm serve didn't become ready; its last lines say why")
            print(f"node {number}: ready after {took:.1f} s", flush=True)


def _small(model: str) -> list[str]:
    return [model, "--load-format", "dummy", "--skip-tokenizer-init", "--max-model-len", "2048"]


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + READY_S_MAX
    while server.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    main()
