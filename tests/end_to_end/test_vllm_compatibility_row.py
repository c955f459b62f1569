"""What the table of versions says of the vLLM that the tests run with."""

from __future__ import annotations

import subprocess
import sys

from vllm_node import HERE, PYTHON, need_vllm


def test_every_level_fits_the_vllm_that_is_tested() -> None:
    need_vllm()
    (packages,) = (PYTHON.parents[1] / "lib").glob("python3*/site-packages")
    script = HERE.parent / "scripts" / "vllm_compatibility.py"
    ended = subprocess.run([sys.executable, script, packages], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    (row,) = ended.stdout.splitlines()[2:]
    _, version, torch, *levels, run, _ = (cell.strip() for cell in row.split("|"))
    assert (levels, run) == (["yes"] * 4, "on a CPU, in CI"), row
    assert (packages / f"vllm-{version}.dist-info").is_dir()
    assert torch[0].isdigit()
