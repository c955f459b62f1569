"""A dispatch as it travels: how large it is, and that equal captures give equal bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from inductory_client.contract.blob import pack
from inductory_client.graph import torch_private
from inductory_client.graph.captured import capture
from inductory_client.graph.dispatch.container import unpack
from inductory_client.graph.dispatch.entry import entry, locals_of
from inductory_client.graph.dispatch.keying import DispatchKey
from inductory_client.graph.dispatch.loading import prove
from inductory_client.graph.dispatch.making import Wanted, make_dispatch
from inductory_client.graph.dispatch.signature import call_of
from inductory_client.graph.factors import current_target

TRAVELLING_BYTES_MAX = 120_000


def dispatch_of(model: Any) -> bytes:
    """Capture a call of dynamic length, and compile nothing."""
    keywords = {"input_ids": torch.arange(12)[None]}
    scope = locals_of(model, (), keywords)
    call = call_of((), keywords, {id(keywords["input_ids"]): {1: (2, 4096)}})
    torch._dynamo.reset()
    with (
        torch.no_grad(),
        torch_private.marked(call.marks(call.signature)),
        torch_private.whole_graph(entry, (model,), keywords) as whole,
    ):
        graph = capture(whole.module, whole.inputs)
        wanted = Wanted(
            name="forward",
            signature=call.signature,
            key=DispatchKey("0" * 64, "1" * 64),
            target=current_target(["cpu"]),
            options={},
            scope=scope,
            left_out=frozenset(),
        )
        data = make_dispatch(whole, graph, dict.fromkeys(graph.unique, ()), wanted).blobs[0].data
        prove(data, scope)
        return data


def qwen(layers: int, seed: int = 0) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen3Config(num_hidden_layers=layers, head_dim=16, vocab_size=80, use_cache=False, **sizes)
    return Qwen3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def data() -> bytes:
    return dispatch_of(qwen(28))


def test_28_layers_travel_in_little(data: bytes) -> None:
    assert len(pack(data)) <= TRAVELLING_BYTES_MAX


def test_nothing_of_a_machine_or_of_the_weights_is_in_it(data: bytes) -> None:
    header, payload = unpack(data)
    assert str(Path(torch.__file__).parents[1]).encode() not in data
    assert os.getcwd().encode() not in data
    assert not any(alias.isdigit() for name in header.globals for alias in name.split("_"))
    assert len(payload) < 500_000
    assert header.operators == ()
    assert "transformers.masking_utils" in header.sources, "traced, though no class of the model is in it"


def test_equal_captures_give_equal_bytes_in_every_process() -> None:
    program = (
        "import hashlib, sys, test_dispatch_bytes as here\n"
        "print(hashlib.sha256(here.dispatch_of(here.qwen(2, seed=int(sys.argv[1])))).hexdigest())"
    )
    found = set()
    for seed in ("1", "2"):
        environ = os.environ | {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[1]))),
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        }
        command = [sys.executable, "-W", "ignore", "-c", program, seed]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        found.add(done.stdout.split()[-1])
    assert len(found) == 1
