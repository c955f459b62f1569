"""`inductory compile`: what is made ahead of time is what a server asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch_machine import Machine

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 200,
}
SERVER = """
import json, sys
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from inductory_client.graph.report import reports

model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(sys.argv[1])).eval()
eager = model.forward
model.forward = torch.compile(model.forward, backend="inductory", options={"on_miss": "error"})
ids = torch.arange(9)[None]
torch._dynamo.mark_dynamic(ids, 1, min=2, max=64)
with torch.no_grad():
    ours, theirs = (forward(input_ids=ids, use_cache=False).logits for forward in (model, eager))
(report,) = reports()
answer = {"outcome": report.outcome, "hits": report.hits, "moved": report.bytes_moved}
print(json.dumps(answer | {"close": torch.allclose(ours, theirs, atol=1e-4)}))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory, store_url: str) -> Machine:
    environ = {"INDUCTORY_NAMESPACE": "ahead", "HF_HUB_OFFLINE": "1"}
    return Machine(tmp_path_factory.mktemp("builder"), store_url, environ=environ)


def inductory(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    there = os.environ | machine.settings() | machine.environ
    command = [sys.executable, "-W", "ignore", "-m", "inductory_client.cli.main", *arguments]
    return subprocess.run(command, env=there, cwd=machine.folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(builder: Machine, config: Path) -> dict[str, Any]:
    done = inductory(builder, "compile", str(config), "--tokens", "2-64", "--label", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_model_is_compiled_and_published(made: dict[str, Any]) -> None:
    assert (made["submodules"], made["pieces"], made["unique_artifacts"]) == (5, 3, 3)
    assert made["compiled"] == 3
    assert made["blob_bytes"] > 0
    assert len(made["builds"]) == len(made["manifests"]) == 1


def test_again_nothing_is_compiled_and_nothing_moves(
    builder: Machine, config: Path, made: dict[str, Any]
) -> None:
    done = inductory(builder, "compile", str(config), "--tokens", "2-64", "--label", "tiny", "--json")
    again = json.loads(done.stdout)
    assert (again["compiled"], again["found"], again["blob_bytes"]) == (0, 3, 0)
    assert again["builds"] == made["builds"]


@pytest.mark.parametrize("prefetched", [False, True])
def test_a_server_loads_what_was_made_ahead(
    builder: Machine, config: Path, made: dict[str, Any], tmp_path: Path, prefetched: bool
) -> None:
    """With a known build, its bundle is there before anything is resolved: no blob moves for the graph."""
    server = Machine(tmp_path, builder.url, (builder.public_key,), builder.environ)
    there = os.environ | server.settings() | server.environ
    if prefetched:
        there["INDUCTORY_BUILD"] = made["builds"][0]
    command = [sys.executable, "-W", "ignore", "-c", SERVER, str(config)]
    done = subprocess.run(command, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer == answer | {"close": True, "outcome": "loaded", "hits": 3}
    assert (answer["moved"] == 0) == prefetched


def test_a_function_of_ones_own_is_compiled_with_its_inputs(builder: Machine) -> None:
    (builder.folder / "own_models.py").write_text(
        "import torch\n"
        "def make():\n"
        "    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())\n"
        "    return model, {'input': torch.ones(2, 4)}\n"
        "def fail():\n"
        "    raise RuntimeError('no weights here')\n"
    )
    done = inductory(builder, "compile", "own_models:make", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["compiled"] == 1
    failed = inductory(builder, "compile", "own_models:fail")
    assert failed.returncode != 0
    assert "own_models:fail raised RuntimeError: no weights here" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_what_names_no_model_is_a_mistake_of_the_caller(builder: Machine) -> None:
    done = inductory(builder, "compile", "nothing-here")
    assert done.returncode == 2
    assert "neither a config.json" in done.stderr
