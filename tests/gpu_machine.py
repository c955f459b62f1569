"""Builders and nodes with a GPU that isn't there, each a process of its own with folders of its own."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from gpu_absent import build_driver
from inductory_client.publication import Draft

TESTS = Path(__file__).parent
SHARED = ("norm", "tall", "rows", "scaled", "both", "total", "told")
"""The cases that can be shared."""
SIZES = (4, 5, 64, 1000, 4096)
NUMELS = (1, 31, 32, 33, 1000, 100_000, 70_000_000)


@functools.cache
def folder() -> Path:
    """Where everything of these machines lies while the tests run."""
    kept = tempfile.TemporaryDirectory(prefix="inductory-gpus-", ignore_cleanup_errors=True)
    atexit.register(kept.cleanup)
    return Path(kept.name)


@functools.cache
def driver() -> Path:
    return build_driver(folder())


def run(what: str, place: Path, environ: dict[str, str | None] | None = None, **job: Any) -> dict[str, Any]:
    """Do a job (see `gpu_program`) in a fresh process whose folders are below `place`."""
    there = os.environ | {
        "PYTHONPATH": str(TESTS),
        "ABSENT_CUDA_DRIVER": "13000",
        "TMPDIR": str(place / "tmp"),
        "TORCHINDUCTOR_CACHE_DIR": str(place / "inductor"),
        "TRITON_CACHE_DIR": str(place / "triton"),
    }
    (place / "tmp").mkdir(parents=True, exist_ok=True)
    for name, value in (environ or {}).items():
        if value is None:
            there.pop(name, None)
        else:
            there[name] = value
    work = json.dumps({"what": what, "library": str(driver()), **job})
    command = [sys.executable, "-W", "ignore", str(TESTS / "gpu_program.py"), work]
    done = subprocess.run(command, capture_output=True, text=True, env=there, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@dataclass(frozen=True)
class Built:
    """What one builder made of the cases."""

    place: Path
    answer: dict[str, Any]

    @property
    def drafts(self) -> Path:
        return self.place / "drafts"

    def draft(self, name: str) -> Draft:
        return msgspec.msgpack.decode((self.drafts / f"{name}.draft").read_bytes(), type=Draft)


@functools.cache
def built(device: int) -> Built:
    """What a builder makes on that device: one of two that have little in common."""
    place = folder() / f"builder-{device}-{'x' * 30 * device}"
    (place / "drafts").mkdir(parents=True)
    cases = SHARED[:: -1 if device else 1]
    answer = run(
        "compile",
        place,
        {"PYTHONHASHSEED": str(7 + device)},
        folder=str(place / "drafts"),
        device=device,
        cases=cases,
        sizes=SIZES,
        numels=NUMELS,
    )
    return Built(place, answer)


@functools.cache
def loaded() -> Built:
    """What a node launches that has the first builder's artifacts, two GPUs, and no compiler of any kind."""
    place = folder() / "node"
    environ: dict[str, str | None] = {"PATH": "", "CXX": None}
    answer = run(
        "load",
        place,
        environ,
        folder=str(built(0).drafts),
        devices=[0, 1],
        cases=SHARED,
        sizes=SIZES,
        elsewhere="norm",
    )
    return Built(place, answer)
