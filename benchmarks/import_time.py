"""What importing the client costs a serving process, over a bare interpreter.

    python benchmarks/import_time.py [RUNS]  -->  build/bench/import_time.json

Each figure is a difference of medians over fresh interpreters, which take turns so that all see the same
machine. `first_resolve_ms` ends where the first request would leave: settings and keys are read, every module
is imported and the local CAS is asked; the store's address refuses connections at once.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import tempfile
import time

from _harness import finish, progress

RUNS = 15

FIRST_RESOLVE = """
import sys
from inductory_client import Client, Settings
from inductory_client.contract.target import Target
from inductory_client.contract.wire import ArtifactWanted

places = dict(url=sys.argv[1], cache_dir=sys.argv[2], config_dir=sys.argv[2])
client = Client(Settings.load({}, **places))
fetched = client.fetch([ArtifactWanted(key="ab" * 32)], Target({}))
assert fetched.error is not None and fetched.error.code == "store_unavailable", fetched
import os
os._exit(0)
"""

CODES = {"bare": "pass", "import": "import inductory_client", "first_resolve": FIRST_RESOLVE}


def milliseconds(code: str, arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1e3


def measure(runs: int) -> dict[str, float]:
    """Return the medians in milliseconds, by name."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        arguments = [f"http://127.0.0.1:{nobody.getsockname()[1]}", folder]
        prepare = "import sys; from inductory_client import Client, Settings; "
        prepare += "Client(Settings.load({}, cache_dir=sys.argv[2], config_dir=sys.argv[2])).signing_key()"
        milliseconds(prepare, arguments)
        times: dict[str, list[float]] = {name: [] for name in CODES}
        names = list(CODES)
        for turn in range(runs + 1):
            progress(f"turn {turn} of {runs}")
            for name in names:
                taken = milliseconds(CODES[name], arguments)
                if turn:  # the first turn fills the page cache and writes bytecode
                    times[name].append(taken)
            names.append(names.pop(0))  # so that none always follows the heaviest
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    medians = measure(runs)
    finish(
        "import_time",
        {
            "import_ms": round(medians["import"] - medians["bare"], 2),
            "first_resolve_ms": round(medians["first_resolve"] - medians["bare"], 2),
            "bare_ms": round(medians["bare"], 2),
        },
        {"import_ms": ("at_most", 40.0), "first_resolve_ms": ("at_most", 150.0)},
        measured={
            "import_ms": "`import inductory_client` over a bare interpreter; medians",
            "first_resolve_ms": "everything up to where a first resolve would leave, likewise",
        },
        runs=runs,
    )


if __name__ == "__main__":
    main()
