"""What vLLM's start costs on a fresh node, with kernels from the store and without.

    python benchmarks/vllm_start.py [--rounds 2] [--repeats 2]  -->  build/bench/vllm_start.json
    python benchmarks/vllm_start.py --faults | --moves
    python benchmarks/vllm_start.py --summarise RUNS.jsonl ...

For a machine with vLLM and a GPU. Every start is a fresh process. A round starts vLLM without Inductory with
all caches empty (cold) and again on the same node (warm), then with Inductory and all empty, as the node that
compiles and publishes (first); then by turns with the cold start's cache brought back by hand and
TRITON_CACHE_DIR set to it (restored), and with Inductory and all empty (fresh), the store on the same machine
over HTTP with verification on.
`--faults` starts it with nothing but stores that refuse, hang or lie. `--moves` needs two GPUs: what was
compiled on either (made) is loaded on the other with all caches empty (moved), and then on the first one with
those caches (beside). Each start is one line of `build/bench/vllm_start.jsonl` as soon as it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _servers
from _gpu_start import SHAPE
from _harness import CHILD_S_MAX, HERE, OUT, Goal, finish, progress

GOALS: dict[str, Goal] = {
    "pieces_fresh_over_cold": ("at_most", 0.22),
    "pieces_fresh_over_warm": ("at_most", 0.55),
    "pieces_fresh_over_restored": ("at_most", 1.05),
    "pieces_bytes_moved": ("at_most", 1_000_000),
    "pieces_first_waited_share": ("at_most", 0.02),
    "mega_fresh_over_cold": ("at_most", 0.20),
    "mega_fresh_over_warm": ("at_most", 0.50),
    "mega_fresh_over_restored": ("at_most", 1.05),
    "mega_bytes_moved": ("at_most", 1_000_000),
    "mega_first_waited_share": ("at_most", 0.02),
    "fault_waited_s": ("at_most", 2.2),
    "moved_compiled": ("equals", 0),
    "tokens_equal": ("equals", True),
}
MEASURED = {
    "fresh_over_cold": "LLM() without imports: on each machine the ratio of medians, and of these the median",
    "bytes_moved": "packed bytes that a fresh node's start moves",
    "first_waited_share": "seconds of LLM() that the compiling node spent in our hooks, over LLM()",
    "fault_waited_s": "the same seconds, the most that a start without a usable store has spent",
    "moved_compiled": "submodules that a start compiled of what was published on the other GPU, at most",
    "tokens_equal": "all starts of one degree of parallelism answered with the same tokens",
}
FORMS = {"pieces": "0", "mega": "1"}
ROWS = ("cold", "warm", "restored", "first", "fresh")
FAULTS = ("refuses", "hangs", "lies")
MOVES = ("made", "moved", "beside")
_FOREIGN = ("INDUCTORY_", "TORCHINDUCTOR_", "TRITON_")
_INIT_ENGINE = re.compile(r"init engine \(.*?took ([0-9.]+) s")
_LINE = re.compile(r"Inductory: (served .*)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--forms", default="pieces,mega")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--repeats", type=int, default=1, help="of the restored and fresh starts of a round")
    parser.add_argument("--faults", action="store_true", help="starts without a usable store, and no rounds")
    parser.add_argument("--moves", action="store_true", help="starts on one GPU and another, and no rounds")
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--summarise", nargs="+", type=Path, metavar="RUNS")
    chosen = parser.parse_args()
    if chosen.summarise:
        lines = [line for path in chosen.summarise for line in path.read_text().splitlines()]
        runs = [json.loads(line) for line in lines]
        finish("vllm_start", *_figures(runs), measured=MEASURED, runs=runs)
        return
    OUT.mkdir(parents=True, exist_ok=True)
    record = OUT / "vllm_start.jsonl"
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name:
        bench = Bench(Path(name), chosen.tensor_parallel, chosen.repeats, record)
        for form in chosen.forms.split(","):
            if chosen.faults:
                bench.faults(form)
                continue
            if chosen.moves:
                bench.moves(form)
                continue
            for number in range(1, chosen.rounds + 1):
                bench.round(form, number, chosen.rows.split(","))
    runs = [json.loads(line) for line in record.read_text().splitlines()]
    finish("vllm_start", *_figures(runs), measured=MEASURED, runs=runs)


class Bench:
    """A node whose caches lie in `home`, always at the same path, as on all nodes of a fleet."""

    def __init__(self, folder: Path, tensor_parallel: int, repeats: int, record: Path) -> None:
        self._folder = folder
        self._repeats = repeats
        self._home, self._kept = folder / "home", folder / "kept"
        self._tensor_parallel = tensor_parallel
        self._record = record
        self._model = folder / "model"
        self._model.mkdir()
        config = SHAPE | {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "max_position_embeddings": 40960,
            "rope_theta": 1000000,
            "torch_dtype": "bfloat16",
            "use_cache": True,
        }
        (self._model / "config.json").write_text(json.dumps(config))

    def round(self, form: str, number: int, rows: list[str]) -> None:
        if "cold" in rows:
            self._wipe()
            self._start(form, "cold", number)
        if "warm" in rows:
            self._start(form, "warm", number)
        if "restored" in rows:
            shutil.rmtree(self._kept, ignore_errors=True)
            shutil.copytree(self._home / ".cache" / "vllm", self._kept, symlinks=True)
        place = self._folder / f"store-{form}-{number}"
        with _servers.store(place) as url:
            keys = {"INDUCTORY_URL": url, "INDUCTORY_CONFIG_DIR": str(place / "keys")}
            if "first" in rows:
                self._wipe()
                self._start(form, "first", number, **keys)
            # The two that are near to each other take turns, several times.
            for _ in range(self._repeats):
                if "restored" in rows:
                    self._wipe()
                    shutil.copytree(self._kept, self._home / ".cache" / "vllm", symlinks=True)
                    (triton,) = (self._home / ".cache" / "vllm").glob("**/inductor_cache/triton/0")
                    self._start(form, "restored", number, TRITON_CACHE_DIR=str(triton))
                if "fresh" in rows:
                    self._wipe()
                    self._start(form, "fresh", number, **keys)

    def faults(self, form: str) -> None:
        for number, kind in enumerate(FAULTS, 1):
            self._wipe()
            with _useless(kind) as url:
                keys = self._folder / "keys"
                self._start(form, kind, number, INDUCTORY_URL=url, INDUCTORY_CONFIG_DIR=str(keys))

    def moves(self, form: str) -> None:
        for number, (there, here) in enumerate(((0, 1), (1, 0)), 1):
            place = self._folder / f"store-{form}-{there}"
            with _servers.store(place) as url:
                keys = {"INDUCTORY_URL": url, "INDUCTORY_CONFIG_DIR": str(place / "keys")}
                self._wipe()
                self._start(form, "made", number, there, **keys)
                self._wipe()
                self._start(form, "moved", number, here, **keys)
                self._start(form, "beside", number, there, **keys)

    def _wipe(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)
        (self._home / "tmp").mkdir(parents=True)

    def _start(self, form: str, name: str, number: int, gpu: int = 0, /, **more: str) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        environ |= {
            "HOME": str(self._home),
            "XDG_CACHE_HOME": str(self._home / ".cache"),
            "TMPDIR": str(self._home / "tmp"),
            "INDUCTORY_CACHE_DIR": str(self._home / "inductory"),
            "VLLM_CACHE_ROOT": str(self._home / ".cache" / "vllm"),
            "VLLM_USE_MEGA_AOT_ARTIFACT": FORMS[form],
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            **more,
        }
        command = [sys.executable, str(HERE / "_vllm_start.py"), str(self._model)]
        command += ["--tensor-parallel", str(self._tensor_parallel), "--gpu", str(gpu)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=CHILD_S_MAX)
        said = done.stdout + done.stderr
        with (OUT / "vllm_start.log").open("a") as log:
            log.write(f"=== {form} {name} {number}\n{said}\n")
        if done.returncode:
            raise RuntimeError(f"{form} {name}: vLLM ended with {done.returncode}:\n{said[-6000:]}")
        # Workers of other ranks print their last words after it.
        found: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout, done.stdout.rindex("\n{") + 1)[0]
        took = _INIT_ENGINE.search(said)
        run = {
            "form": form,
            "row": name,
            "round": number,
            "tensor_parallel": self._tensor_parallel,
            "init_engine_s": float(took[1]) if took else None,
            "lines": _LINE.findall(said),
            **found,
        }
        with self._record.open("a") as file:
            file.write(json.dumps(run) + "\n")
        told = {key: run[key] for key in ("llm_s", "compile_s", "init_engine_s", "imports_s", "tuned")}
        progress(f"{form} {name} {number}: {told} {run['lines']}")


@contextmanager
def _useless(kind: str) -> Iterator[str]:
    """A store that refuses connections, never answers, or answers nonsense."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if kind == "refuses":
            server.close()
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if kind == "lies":
                    connection.recv(1 << 16)
                    body = b'{"artifacts": "none"}'
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                    connection.sendall(head.encode() + body)
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            for connection in held:
                connection.close()


def _figures(runs: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Goal]]:
    figures: dict[str, Any] = {}
    rows: defaultdict[tuple[int, str, str], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        rows[run["tensor_parallel"], run["form"], run["row"]].append(run)
    for (degree, form, row), each in rows.items():
        if row in FAULTS + MOVES:
            continue
        name = f"{_degree(degree)}{form}_{row}"
        for figure in ("llm_s", "compile_s", "init_engine_s"):
            values = sorted(run[figure] for run in each if run[figure] is not None)
            if values:
                figures[f"{name}_{figure}"] = round(statistics.median(values), 2)
        figures[f"{name}_llm_range_s"] = [round(pick(run["llm_s"] for run in each), 2) for pick in (min, max)]
        figures[f"{name}_n"] = len(each)
    for degree, form in sorted({key[:2] for key in rows}):
        prefix = f"{_degree(degree)}{form}_"
        for row in ("cold", "warm", "restored"):
            ratios = _ratios(rows[degree, form, "fresh"], rows[degree, form, row])
            if ratios:
                figures[f"{prefix}fresh_over_{row}"] = round(statistics.median(ratios), 3)
                figures[f"{prefix}fresh_over_{row}_range"] = [round(pick(ratios), 3) for pick in (min, max)]
        ours = rows[degree, form, "fresh"]
        if ours and degree == 1:
            figures[f"{prefix}bytes_moved"] = max(run["inductory"]["bytes_moved"] for run in ours)
            shares = [run["inductory"]["waited_s"] / run["llm_s"] for run in rows[degree, form, "first"]]
            figures[f"{prefix}first_waited_share"] = round(statistics.median(shares), 4)
            waits = [run["inductory"]["waited_s"] for run in ours]
            figures[f"{prefix}fresh_waited_s"] = round(statistics.median(waits), 3)
    faults = [run for (_, _, row), each in rows.items() if row in FAULTS for run in each]
    if faults:
        figures["fault_waited_s"] = round(max(run["inductory"]["waited_s"] for run in faults), 3)
    moved = [run for (_, _, row), each in rows.items() if row in MOVES[1:] for run in each]
    if moved:
        figures["moved_compiled"] = max(run["inductory"]["engine"]["inductor_generated"] for run in moved)
    tokens = {(run["tensor_parallel"], json.dumps(run["tokens"])) for run in runs}
    figures["tokens_equal"] = len(tokens) == len({degree for degree, _ in tokens})
    for told in ("gpu", "engine"):
        figures[told] = "; ".join(sorted({run[told] for run in runs if told in run}))
    return figures, {name: goal for name, goal in GOALS.items() if name in figures}


def _ratios(ours: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[float]:
    """Return how long our starts took over the others, by machine: one is a third faster than the next."""
    medians = [
        {
            machine: statistics.median(run["llm_s"] for run in runs if run["machine"] == machine)
            for machine in {run["machine"] for run in runs}
        }
        for runs in (ours, others)
    ]
    return [medians[0][machine] / medians[1][machine] for machine in medians[0].keys() & medians[1].keys()]


def _degree(tensor_parallel: int) -> str:
    return "" if tensor_parallel == 1 else f"tp{tensor_parallel}_"


if __name__ == "__main__":
    main()
