"""Load by wrk: questions to one address, as fast as so many connections get them answered."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_ONE = """
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = file:read("*a")
file:close()
"""
# Each connection's turn takes the next of the lines, and begins anew after the last.
_MANY = """
local lines = {{}}
for line in io.lines("{lines}") do lines[#lines + 1] = line end
local at = {start}
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept-Encoding"] = "zstd"
function request()
    at = at % #lines + 1
    return wrk.format("{method}", {path}, nil, {body})
end
"""


def check() -> None:
    """Raise SystemExit where wrk is missing."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: scripts/setup.sh servers wrk")


def asking(folder: Path, body: bytes) -> Path:
    """Write what makes wrk ask one question, whose body is JSON, again and again."""
    (folder / "question.json").write_bytes(body)
    script = folder / "ask.lua"
    script.write_text(_ONE.format(body=folder / "question.json"))
    return script


def asking_each(folder: Path, name: str, bodies: Sequence[bytes], path: str, start: int = 0) -> Path:
    """Write what makes wrk ask these questions in turn, each a line of JSON, from the one behind `start`."""
    lines = folder / f"{name}.lines"
    lines.write_bytes(b"\n".join(bodies))
    return _written(folder, name, lines, "POST", f'"{path}"', "lines[at]", start)


def getting_each(folder: Path, name: str, paths: Sequence[str], start: int = 0) -> Path:
    """Write what makes wrk get these addresses in turn, from the one behind `start`."""
    lines = folder / f"{name}.lines"
    lines.write_text("\n".join(paths))
    return _written(folder, name, lines, "GET", "lines[at]", "nil", start)


def _written(folder: Path, name: str, lines: Path, method: str, path: str, body: str, start: int) -> Path:
    script = folder / f"{name}.lua"
    script.write_text(_MANY.format(lines=lines, method=method, path=path, body=body, start=start))
    return script


def load(url: str, script: Path, *, connections: int, seconds: float) -> dict[str, float]:
    """Ask as fast as it goes; return requests a second, and of their times the median and 99th percentile.

    Raises RuntimeError where any answer was no success.
    """
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout=20s",
        "-s",
        str(script),
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert rate is not None
    percentiles = {place: _milliseconds(done.stdout, place) for place in (50, 99)}
    return {"per_s": float(rate[1]), **{f"p{place}_ms": time for place, time in percentiles.items()}}


def _milliseconds(text: str, place: int) -> float:
    found = re.search(rf"{place}%\s+([\d.]+)(us|ms|s)", text)
    assert found is not None
    scale: float = {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]
    return float(found[1]) * scale
