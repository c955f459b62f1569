"""What the benchmarks share: where results go, what they say of the machine, and fresh processes."""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "bench"
PACKAGES = ("inductory", "torch", "transformers", "msgspec", "cryptography", "xxhash", "redis")
# What may change a child's result, or lead it to this user's own files.
FOREIGN = ("INDUCTORY_", "TORCHINDUCTOR_", "TORCHDYNAMO_", "TORCH_", "TRITON_", "PYTHONHASHSEED")
CHILD_S_MAX = 900.0

Goal = tuple[str, Any]
"""`at_most`, `at_least`, `below` or `equals`, and the value."""

_BEGAN = time.monotonic()


def progress(text: str) -> None:
    """Say what is being done, on standard error: standard output holds the result alone."""
    print(f"[{time.monotonic() - _BEGAN:5.0f} s] {text}", file=sys.stderr, flush=True)


def median(runs: Sequence[Mapping[str, Any]], kind: str, figure: str) -> float:
    """Return the median of a figure that each run has of a kind, to three places."""
    return round(float(statistics.median(run[kind][figure] for run in runs)), 3)


def clean_environ(home: Path, **more: str) -> dict[str, str]:
    """Return an environment whose every cache lies below `home`, empty unless it was used before."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    folders = {
        "HOME": home,
        "XDG_CACHE_HOME": home / "cache",
        "XDG_CONFIG_HOME": home / "config",
        "TMPDIR": home / "tmp",
        "INDUCTORY_CACHE_DIR": home / "inductory",
        "TORCHINDUCTOR_CACHE_DIR": home / "inductor",
        "TRITON_CACHE_DIR": home / "triton",
        "HF_HOME": home / "huggingface",
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return kept | {name: str(folder) for name, folder in folders.items()} | {"HF_HUB_OFFLINE": "1"} | more


def child(program: str, arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Run `benchmarks/PROGRAM.py` in a fresh process; return the JSON that it prints last.

    Raises RuntimeError, with what it said, where it fails.
    """
    return json_of([sys.executable, str(HERE / f"{program}.py"), *arguments], environ)


def json_of(command: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Run `command`; return the JSON that its output ends with. Raises RuntimeError where it fails."""
    done = subprocess.run(command, env=dict(environ), capture_output=True, text=True, timeout=CHILD_S_MAX)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout[("\n" + done.stdout).rindex("\n{") :])
    return found


def finish(
    name: str,
    figures: Mapping[str, Any],
    goals: Mapping[str, Goal],
    *,
    measured: Mapping[str, str],
    runs: Any = None,
) -> None:
    """Write build/bench/NAME.json and print a table. A goal that is missed is told, and is no failure.

    `measured` says what each figure is; `runs` holds the single measurements.
    """
    judged = {
        goal: {kind: value, "met": met(figures[goal], kind, value)} for goal, (kind, value) in goals.items()
    }
    result = {
        "benchmark": name,
        "figures": figures,
        "goals": judged,
        "measured": measured,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": versions(),
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "runs": runs,
    }
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(table(figures, goals, measured))
    print(f"\n{path.relative_to(HERE.parent)}")


def met(value: Any, kind: str, wanted: Any) -> bool:
    """Whether a figure meets its goal."""
    if value is None:
        return False
    if kind == "at_most":
        return bool(value <= wanted)
    if kind == "at_least":
        return bool(value >= wanted)
    if kind == "below":
        return bool(value < wanted)
    if kind == "equals":
        return bool(value == wanted)
    raise ValueError(f"{kind!r} isn't a kind of goal")


def table(figures: Mapping[str, Any], goals: Mapping[str, Goal], measured: Mapping[str, str]) -> str:
    rows = [("figure", "value", "goal", "")]
    for name, value in figures.items():
        goal, judged = "", ""
        if name in goals:
            kind, wanted = goals[name]
            goal = {"at_most": "at most ", "at_least": "at least ", "below": "below ", "equals": ""}[
                kind
            ] + _text(wanted)
            judged = "met" if met(value, kind, wanted) else "MISSED"
        rows.append((name, _text(value), goal, judged))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {goal:<{widths[2]}}  {judged}".rstrip()
        for name, value, goal, judged in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    notes = [f"{name}: {text}" for name, text in measured.items() if name in figures]
    return "\n".join([*lines, "", *notes])


def versions() -> dict[str, str]:
    """Return the versions of Python and of what takes part, as far as it is installed."""
    return {"python": platform.python_version()} | dict(_versions(PACKAGES))


def _versions(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return (
        f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
