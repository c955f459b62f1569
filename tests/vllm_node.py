"""A node that runs the tiny model under vLLM, in a process of its own with folders of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PYTHON = HERE.parent / ".venv-vllm" / "bin" / "python"
PACKAGES = [HERE, *(HERE.parent / name for name in ("client", "store", "compiler"))]
FORMS = {"mega": "1", "pieces": "0"}
"""Whether vLLM keeps pieces inside of the AOT file or beside it."""
_ABOVE_RIGHTS = "-dac_override,-dac_read_search"
AS_ANYBODY = ("setpriv", f"--inh-caps={_ABOVE_RIGHTS}", f"--bounding-set={_ABOVE_RIGHTS}")
"""The superuser writes where it isn't allowed to; without these capabilities it is like anybody."""


@dataclass(frozen=True)
class Started:
    """What a start came to."""

    sums: list[float]
    counters: dict[str, int]
    """Of vLLM."""
    served: dict[str, int]
    missed: dict[str, int]
    offered: dict[str, int]
    bytes_moved: int
    line: str
    log: str

    @property
    def loaded(self) -> int:
        return self.counters.get("num_aot_artifacts_loaded", 0)

    @property
    def compiled(self) -> int:
        return self.counters.get("num_aot_compiles", 0)


@dataclass
class Node:
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    wrapper: Sequence[str] = ()
    """Goes before the command: `AS_ANYBODY`, for example."""

    @property
    def vllm_root(self) -> Path:
        return self.folder / "vllm"

    @property
    def models(self) -> Path:
        """Where vLLM keeps AOT files, `<hash>/rank_0_0/model`."""
        return self.vllm_root / "torch_compile_cache" / "torch_aot_compile"

    @property
    def cache_dir(self) -> Path:
        """The client's."""
        return self.folder / "inductory"

    def start(self, **environ: str) -> Started:
        """Run the model to its end."""
        (started,) = self.start_ranks(1, **environ)
        return started

    def start_ranks(self, ranks: int, **environ: str) -> list[Started]:
        """Run the model on several ranks to their end."""
        with self.started(ranks, **environ) as process:
            out, log = process.communicate(timeout=300)
        assert process.returncode == 0, log
        told = [line.removeprefix("RESULT ") for line in out.splitlines() if line.startswith("RESULT ")]
        assert len(told) == ranks, out
        return [Started(**json.loads(each), log=log) for each in told]

    def started(self, ranks: int = 1, **environ: str) -> subprocess.Popen[str]:
        """Start it."""
        return subprocess.Popen(
            [*self.wrapper, PYTHON, HERE / "tiny_vllm.py", f"--ranks={ranks}"],
            env=self._environ() | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _environ(self) -> dict[str, str]:
        place = self.folder
        return {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
            "PYTHONPATH": os.pathsep.join(map(str, PACKAGES)),
            "VLLM_CACHE_ROOT": str(self.vllm_root),
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "XDG_CACHE_HOME": str(place / "cache"),
            "INDUCTORY_CACHE_DIR": str(self.cache_dir),
            "INDUCTORY_STORE_DEADLINE_S": "60",
            "INDUCTORY_DRAIN_S": "60",
            **self.environ,
        }


def need_vllm() -> None:
    """Skip where vLLM isn't installed, and fail in CI."""
    if not PYTHON.exists():
        (pytest.fail if "CI" in os.environ else pytest.skip)("vLLM is missing: scripts/setup.sh vllm")
