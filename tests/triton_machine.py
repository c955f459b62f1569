"""Builders and nodes that compile with Triton for a GPU that isn't there, each with folders of its own."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

TESTS = Path(__file__).parent
MANAGER = "inductory_client.integrations.triton_cache:InductoryCacheManager"
KERNELS = ("plain", "typed", "scaled", "rounded", "shifted")
"""Those that can be shared."""


class Machine:
    """One machine's folders, below `place`; `config` holds its keys."""

    def __init__(
        self, place: Path, url: str | None = None, config: Path | None = None, **environ: str
    ) -> None:
        self.place = place
        self.triton = place / "triton"
        self.cas = place / "cache"
        self.config = config or place / "config"
        own = {
            "TRITON_CACHE_MANAGER": MANAGER,
            "TRITON_CACHE_DIR": str(self.triton),
            "TRITON_DUMP_DIR": str(place / "dump"),
            "INDUCTORY_CACHE_DIR": str(self.cas),
            "INDUCTORY_CONFIG_DIR": str(self.config),
            "INDUCTORY_URL": url or "",
            "INDUCTORY_NAMESPACE": "triton",
        }
        self.environ = own | environ

    def job(self, *kernels: str, **job: Any) -> dict[str, Any]:
        self.place.mkdir(parents=True, exist_ok=True)
        answer = str(self.place / "answer.json")
        return {"environ": self.environ, "kernels": kernels, "answer": answer, **job}

    def run(self, *kernels: str, **job: Any) -> dict[str, Any]:
        """Compile kernels, or have them, in a fresh process; `job` as in `triton_program`."""
        (answer,) = run_at_once(self.job(*kernels, **job))
        return answer

    def files(self) -> set[str]:
        """The names of the files in Triton's folder, without the keys they lie under."""
        return {path.name for path in self.triton.rglob("*") if path.is_file()}


def run_at_once(*jobs: dict[str, Any]) -> list[dict[str, Any]]:
    """Do jobs at the same time and return their answers. One with `killed` must end by SIGKILL."""
    process = _processes()
    process.stdin.write(json.dumps(jobs) + "\n")  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]
    statuses = json.loads(process.stdout.readline())  # type: ignore[union-attr]
    assert statuses == [-signal.SIGKILL if job.get("killed") else 0 for job in jobs]
    return [cast(dict[str, Any], json.loads(Path(job["answer"]).read_text())) for job in jobs]


@functools.cache
def _processes() -> subprocess.Popen[str]:
    there = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    }
    command = [sys.executable, "-W", "ignore", str(TESTS / "triton_program.py")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=there)
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.stdin.close()  # type: ignore[union-attr]
    process.wait()
    process.stdout.close()  # type: ignore[union-attr]
