"""Clients of the last release and of today share a store of today: stores are upgraded first, nodes when they
are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inductory_client.contract.manifest import PARTS_LIST
from vllm_cache import HASH, make_cache

Run = Callable[..., dict[str, Any]]
MAIN = "import sys; from inductory_client.cli.main import main; raise SystemExit(main(sys.argv[1:]))"


@pytest.fixture
def inductory(store_url: str, tmp_path: Path, release: dict[str, str]) -> Run:
    """Runs a command of the client of either age, on a node of its own that trusts the same key."""
    bare = {name: text for name, text in os.environ.items() if not name.startswith("INDUCTORY_")}
    shared = {"INDUCTORY_NAMESPACE": f"ages-{uuid.uuid4().hex[:12]}", "INDUCTORY_URL": store_url}

    def run(age: str, *words: str) -> dict[str, Any]:
        places = {
            "INDUCTORY_CACHE_DIR": str(tmp_path / f"cache-{age}"),
            "INDUCTORY_CONFIG_DIR": str(tmp_path / "k"),
        }
        environ = bare | shared | places | (release if age == "old" else {})
        command = [sys.executable, "-c", MAIN, *words, "--json"]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.mark.parametrize("reader", ["old", "new"])
@pytest.mark.parametrize("writer", ["old", "new"])
def test_what_one_publishes_the_other_loads(inductory: Run, tmp_path: Path, writer: str, reader: str) -> None:
    root = make_cache(tmp_path / "in", salt=writer)
    pushed = inductory(writer, "push", str(root))
    inductory(reader, "pull", pushed["build"], "--to", str(tmp_path / "out"))
    backbone = f"torch_compile_cache/{HASH}/rank_0_0/backbone"
    before = {path.name: path.read_bytes() for path in (root / backbone).iterdir()}
    after = {path.name: path.read_bytes() for path in (tmp_path / "out" / backbone).iterdir()}
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {PARTS_LIST}, "its paths are of here"
    found = inductory(reader, "lookup", "--build", pushed["build"])["entries"]
    assert len(found) == 2
