"""vLLM without any plugin starts from a folder that `inductory pull` brought to another root."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from inductory_client.cli.main import main
from vllm_node import FORMS, Node, need_vllm


@pytest.mark.parametrize("form", FORMS)
def test_it_loads_and_compiles_nothing(
    store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    need_vllm()

    def inductory(*words: str) -> dict[str, Any]:
        options = ["--json", f"--url={store_url}", f"--namespace=folder-{form}"]
        places = [f"--cache-dir={tmp_path / 'cache'}", f"--config-dir={tmp_path / 'config'}"]
        assert main([*words, *options, *places]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    environ = {"VLLM_USE_MEGA_AOT_ARTIFACT": FORMS[form]}
    made = Node(tmp_path / "made", environ)
    cold = made.start()
    assert (cold.loaded, cold.compiled, cold.line) == (0, 1, "")
    warm = made.start()
    pushed = inductory("push", str(made.vllm_root))
    shutil.rmtree(made.folder)  # whatever still names it finds nothing there
    node = Node(tmp_path / "elsewhere" / "node", environ)
    inductory("pull", pushed["build"], "--to", str(node.vllm_root))
    fresh = node.start()
    assert (fresh.loaded, fresh.compiled) == (1, 0)
    assert fresh.counters == warm.counters, "as if it had run here before"
    assert fresh.sums == cold.sums
