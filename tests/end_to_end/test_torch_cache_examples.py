"""The examples of stock torch.compile run as they are documented."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "torch"


def lines_of(program: str, folder: Path, url: str) -> list[str]:
    environ = os.environ | {
        "INDUCTORY_URL": url,
        "INDUCTORY_NAMESPACE": program.replace("_", "-"),
        "INDUCTORY_CONFIG_DIR": str(folder / "config"),
        "INDUCTORY_STORE_DEADLINE_S": "60",
        "INDUCTORY_DRAIN_S": "60",
    }
    command = [sys.executable, str(EXAMPLES / f"{program}.py")]
    done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_stock_cache(tmp_path: Path, store_url: str) -> None:
    cold, warm = lines_of("stock_cache", tmp_path, store_url)
    assert "node 1: found 0, compiled 1" in cold
    assert "node 2: found 1, compiled 0" in warm
    assert cold.rpartition("sum")[2] == warm.rpartition("sum")[2]


def test_mega_cache(tmp_path: Path, store_url: str) -> None:
    said = lines_of("mega_cache", tmp_path, store_url)
    assert said[0] == "node 1: loaded nothing"
    assert said[1].startswith("node 1: found 0, compiled 1")
    assert said[2].endswith("bytes: created")
    assert said[3] == "node 2: loaded {'aot_autograd': 1, 'inductor': 1}"
    assert said[4].startswith("node 2: found 1, compiled 0")
    assert said[5].endswith("bytes: unchanged")
    assert said[1].rpartition("sum")[2] == said[4].rpartition("sum")[2]


@pytest.mark.parametrize("program", ["stock_cache", "mega_cache"])
def test_without_a_store_it_says_what_to_do(program: str) -> None:
    command = [sys.executable, str(EXAMPLES / f"{program}.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "set INDUCTORY_URL" in done.stderr
