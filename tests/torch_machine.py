"""A machine for tests: folders of its own, and processes that run `torch_program.py` there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch_cases import SPLITTING_OPS

TESTS = Path(__file__).parent
NO_COMPILER = """#!/bin/sh
echo "$@" >> {log}
exit 1
"""


@dataclass
class Ran:
    """What a process printed, and what it said on the way."""

    answer: dict[str, Any]
    said: str

    def __getattr__(self, name: str) -> Any:
        return self.answer[name]

    @property
    def warnings(self) -> list[str]:
        """The lines that Inductory wrote to the standard error."""
        return [line for line in self.said.splitlines() if line.startswith("inductory ")]


@dataclass
class Machine:
    """Its caches, keys and trusted keys lie in `folder`, and nothing of it is anybody else's."""

    folder: Path
    url: str = ""
    trusts: tuple[Path, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def public_key(self) -> Path:
        return self.folder / "config" / "key.pub"

    @property
    def inductor_cache(self) -> Path:
        return self.folder / "inductor"

    @property
    def compiler_log(self) -> Path:
        """What a compiler that can't compile was asked for."""
        return self.folder / "compiler.log"

    def settings(self) -> dict[str, str]:
        return {
            "INDUCTORY_URL": self.url,
            "INDUCTORY_CACHE_DIR": str(self.cache),
            "INDUCTORY_CONFIG_DIR": str(self.folder / "config"),
            "INDUCTORY_TRUSTED_KEYS": os.pathsep.join(map(str, self.trusts)),
            "INDUCTORY_SPLITTING_OPS": ",".join(SPLITTING_OPS),
            "INDUCTORY_STORE_DEADLINE_S": "60",
            "INDUCTORY_DRAIN_S": "60",
            "TORCHINDUCTOR_CACHE_DIR": str(self.inductor_cache),
            # The number of threads is a factor: every process of a test has this process's.
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        }

    def run(self, what: str, *names: str, compiler: bool = True, code: str = "", **environ: str) -> Ran:
        """Run the program in a fresh process; `code` runs before it. Without `compiler`, g++ fails."""
        there = os.environ | self.settings() | self.environ | environ
        if not compiler:
            there["PATH"] = os.pathsep.join((str(self._failing_compilers()), there["PATH"]))
            there.pop("CXX", None)
        program = f"""
import logging, runpy, sys
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("inductory %(levelname)s %(message)s"))
logging.getLogger("inductory").addHandler(handler)
sys.path.insert(0, {str(TESTS)!r})
sys.argv = {["torch_program.py", what, *names]!r}
{code}
runpy.run_path({str(TESTS / "torch_program.py")!r}, run_name="__main__")
"""
        command = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, env=there, check=False)
        assert done.returncode == 0, done.stderr
        return Ran(json.loads(done.stdout.splitlines()[-1]), done.stderr)

    def compiled_nothing(self, ran: Ran) -> bool:
        """Whether no compiler was called, Inductor compiled no graph, and nothing went to its cache."""
        inductor = ran.answer["counters"].get("inductor", {})
        files = [path for path in self.inductor_cache.rglob("*") if path.is_file()]
        return not (self.compiler_log.exists() or inductor or files or ran.answer["compiled"])

    def _failing_compilers(self) -> Path:
        folder = self.folder / "no-compiler"
        folder.mkdir(exist_ok=True)
        for name in ("g++", "gcc", "c++", "cc", "clang++"):
            path = folder / name
            path.write_text(NO_COMPILER.format(log=self.compiler_log))
            path.chmod(0o755)
        return folder
