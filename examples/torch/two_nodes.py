"""Two nodes on one machine: a program in two fresh processes that share a store and a key, and no cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

NODE = "EXAMPLE_NODE"


def on_two_nodes(program: str) -> None:
    """Run `program` on node 1 and then on node 2. Ends this process where one fails."""
    if "INDUCTORY_URL" not in os.environ:
        sys.exit("start a store (`inductory serve`), and set INDUCTORY_URL to its address")
    with tempfile.TemporaryDirectory(prefix="inductory-example-") as folder:
        for number in ("1", "2"):
            node = Path(folder, number)
            caches = {
                "INDUCTORY_CACHE_DIR": str(node / "inductory"),
                "TORCHINDUCTOR_CACHE_DIR": str(node / "inductor"),
            }
            # Both have this machine's key and so trust each other; nodes of a fleet are told whom to trust.
            environ = os.environ | caches | {NODE: number}
            done = subprocess.run([sys.executable, program], env=environ, check=False)
            if done.returncode:
                sys.exit(done.returncode)


def node() -> str | None:
    """Return which node this process is; None for the one that starts them."""
    return os.environ.get(NODE)
