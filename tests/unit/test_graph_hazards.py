"""What decides code without standing in a graph, and what a graph does without saying so by name."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from inductory_client.contract.target import Target
from inductory_client.graph.factors import current_target
from inductory_client.graph.layout import keep_layout
from inductory_client.graph.torch_private import kept_autocast
from inductory_client.graph.unsupported import Unsupported
from torch_capturing import captured_graph


def target_of(environ: dict[str, str]) -> Target:
    code = """
import json
from inductory_client.graph.factors import current_target
print(json.dumps(current_target(["cpu"]).factors))
"""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | threads | environ,
        check=True,
        capture_output=True,
        text=True,
    )
    return Target(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "variable",
    ["TORCHINDUCTOR_CPP_WRAPPER", "TORCHINDUCTOR_EMULATE_PRECISION_CASTS", "TORCHINDUCTOR_FREEZING"],
)
def test_a_setting_that_the_environment_gives_is_a_factor(variable: str) -> None:
    """torch reads it at import, where it becomes the default: nothing then differs from the default."""
    there = target_of({variable: "1"})
    assert there != current_target(["cpu"])
    assert there.factors["configuration"] != current_target(["cpu"]).factors["configuration"]


def test_a_variable_that_decides_no_code_is_no_factor() -> None:
    assert target_of({"TORCHINDUCTOR_VEC_ISA_OK": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}) == target_of({})


def overlapping() -> tuple[torch.Tensor, torch.Tensor]:
    memory = torch.randn(1500)
    return memory[:1000], memory[500:]


def relu_in_place(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    torch.nn.functional.relu(x, inplace=True)
    return x * 3 + y


def leaky_relu_in_place(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    torch.nn.functional.leaky_relu(x, 0.1, True)
    return x * 3 + y


def added_in_place(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x += 1
    return x * 3 + y


@pytest.mark.parametrize("function", [relu_in_place, leaky_relu_in_place, added_in_place])
def test_writing_to_inputs_that_share_memory_is_seen_whatever_it_is_called(function: Any) -> None:
    with torch.no_grad(), pytest.raises(Unsupported, match="share memory"):
        captured_graph(function, *overlapping())


def test_reading_inputs_that_share_memory_is_fine() -> None:
    with torch.no_grad():
        assert captured_graph(lambda x, y: x * 3 + y, *overlapping()).pieces


def test_an_op_made_of_others_is_refused_for_its_schema_tells_nothing_of_its_code() -> None:
    library = torch.library.Library("hazards", "DEF")
    library.define("thrice(Tensor x) -> Tensor")
    library.impl("thrice", lambda x: x * 3, "CompositeImplicitAutograd")
    with torch.no_grad(), pytest.raises(Unsupported, match=r"hazards::thrice.*made of other operations"):
        captured_graph(lambda x: torch.ops.hazards.thrice(x), torch.randn(4))


def test_floats_that_vary_are_refused_by_name() -> None:
    def scaled(x: torch.Tensor, by: float) -> torch.Tensor:
        return x * by

    with torch.no_grad(), pytest.raises(Unsupported, match="a float varies"):
        captured_graph(scaled, torch.randn(4), 1.5, dynamic=True)


def test_autocast_is_put_back_after_a_failure() -> None:
    with contextlib.suppress(RuntimeError), kept_autocast():
        torch.set_autocast_enabled("cpu", True)
        torch.set_autocast_dtype("cpu", torch.float16)
        torch.autocast_increment_nesting()
        raise RuntimeError
    assert not torch.is_autocast_enabled("cpu")
    assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    assert torch.autocast_increment_nesting() == 1
    torch.autocast_decrement_nesting()


def test_attention_is_laid_out_as_it_was_captured() -> None:
    """SDPA's implementation, and its strides with it, may be another one at run time."""

    class Attention(torch.nn.Module):
        swapped = False

        def forward(self, q: torch.Tensor) -> torch.Tensor:
            return q.transpose(1, 2).contiguous().transpose(1, 2) if self.swapped else q.contiguous()

    graph = torch.fx.Graph()
    placed = graph.placeholder("q")
    called = graph.call_module("attention", (placed,))
    called.meta["example_value"] = torch.empty(2, 4, 8, 3)
    graph.output(called)
    module = torch.fx.GraphModule({"attention": Attention()}, graph)
    laid_out = keep_layout(module)
    q = torch.randn(2, 4, 8, 3)
    assert laid_out(q).stride() == q.stride()
    module.attention.swapped = True
    assert module(q).stride() != q.stride()
    assert laid_out(q).stride() == q.stride()
    assert torch.equal(laid_out(q), q)
