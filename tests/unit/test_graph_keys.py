"""What is in a key and what isn't: equal pieces have equal keys; what decides the code changes them."""

from __future__ import annotations

import json
import operator
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._functorch.config
import torch._inductor.config
from inductory_client.graph import torch_private
from inductory_client.graph.canonical import canonicalise
from inductory_client.graph.factors import current_target
from inductory_client.graph.unsupported import Unsupported
from torch import nn
from torch_capturing import captured_graph, digests, keys
from torch_models import Layer, decoder, token_ids, values

TESTS = Path(__file__).resolve().parents[1]


def test_thirteen_pieces_are_three() -> None:
    graph = captured_graph(decoder(12), token_ids(16))
    assert (len(graph.split.parts), len(graph.pieces), len(graph.unique)) == (25, 13, 3)
    first, *middle, last = keys(graph)
    assert len(set(middle)) == 1
    assert len({first, middle[0], last}) == 3
    assert [entry.submodule_index for entry in graph.entries] == list(range(0, 25, 2))
    assert {piece.shape for piece in graph.pieces} == {(2, None)}


def test_depth_adds_no_artifacts() -> None:
    assert set(keys(captured_graph(decoder(3), token_ids(16)))) == set(
        keys(captured_graph(decoder(5), token_ids(16)))
    )


class Renamed(nn.Module):
    """A layer that is called otherwise inside and out, and does the same."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.thing = Layer(hidden)

    def forward(self, some_input: torch.Tensor) -> torch.Tensor:
        result = self.thing(some_input)
        return result


def test_names_and_classes_are_not_in_the_key() -> None:
    assert keys(captured_graph(decoder(), token_ids(16))) == keys(
        captured_graph(decoder(layer=Renamed), token_ids(16))
    )


@pytest.mark.parametrize("length", [3, 700, 1500, 5000])
def test_the_first_calls_length_is_not_in_the_key(length: int) -> None:
    assert keys(captured_graph(decoder(), token_ids(16))) == keys(
        captured_graph(decoder(), token_ids(length))
    )


def test_ways_to_be_dynamic_and_gradless_agree() -> None:
    marked = digests(captured_graph(decoder(), token_ids(16)))
    with torch.inference_mode():
        assert digests(captured_graph(decoder(), token_ids(16))) == marked
    assert digests(_automatic_dynamic()) == marked
    model = decoder()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert digests(captured_graph(model, token_ids(16))) == marked, "requires_grad doesn't matter"
    assert digests(captured_graph(model, token_ids(16), grad=True)) == marked, "nor does grad mode"


def _automatic_dynamic() -> Any:
    """The second length makes Dynamo capture again, with a symbol."""
    from inductory_client.graph.captured import capture

    found: list[Any] = []

    def backend(module: torch.fx.GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        found.append(capture(module, example_inputs))
        return module.forward

    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(decoder(), backend=backend)
        compiled(token_ids(16, dynamic=False))
        compiled(token_ids(19, dynamic=False))
    static, dynamic = found
    assert static.shape == 32
    assert {piece.shape for piece in static.pieces} == {32}
    return dynamic


def test_a_dynamic_batch_is_another_graph() -> None:
    ids = token_ids(16)
    torch._dynamo.mark_dynamic(ids, 0)
    dynamic = captured_graph(decoder(), ids)
    assert len(dynamic.unique) == 3
    assert not set(keys(dynamic)) & set(keys(captured_graph(decoder(), token_ids(16))))
    assert {piece.shape for piece in dynamic.pieces} == {None}, "two symbols: any"


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_processes_and_hash_seeds_agree(hash_seed: str) -> None:
    code = """
import json, sys
sys.path.insert(0, sys.argv[1])
from torch_capturing import captured_graph, keys
from torch_models import decoder, token_ids
print(json.dumps(keys(captured_graph(decoder(), token_ids(9)))))
"""
    environ = os.environ | {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    environ["TORCHINDUCTOR_VEC_ISA_OK"] = hash_seed
    there = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(TESTS)],
        check=True,
        capture_output=True,
        text=True,
        env=environ,
    ).stdout
    assert json.loads(there) == keys(captured_graph(decoder(), token_ids(16)))


# --- what changes it ---


class Pass:
    """A custom pass that says who it is."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    def __call__(self, graph: torch.fx.Graph) -> None:
        raise AssertionError("nothing is compiled here")

    def uuid(self) -> str | None:
        return self.name


@contextmanager
def switched(set_to: Callable[[Any], None], value: Any, before: Any) -> Iterator[None]:
    set_to(value)
    try:
        yield
    finally:
        set_to(before)


def fill(value: bool) -> None:
    torch.utils.deterministic.fill_uninitialized_memory = value


def project(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.silu(x @ x) * 2


Switch = Callable[[], AbstractContextManager[Any]]
SWITCHES: dict[str, Switch] = {
    "threads": lambda: switched(torch.set_num_threads, torch.get_num_threads() + 1, torch.get_num_threads()),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default dtype": lambda: switched(torch.set_default_dtype, torch.float64, torch.float32),
    "matmul precision": lambda: switched(torch.set_float32_matmul_precision, "medium", "highest"),
    "deterministic": lambda: switched(torch.use_deterministic_algorithms, True, False),
    "fill": lambda: switched(fill, False, True),
    "mkldnn": lambda: switched(torch._C._set_mkldnn_enabled, False, True),
    "inductor": lambda: torch._inductor.config.patch("epilogue_fusion", False),
    "inductor, nested": lambda: torch._inductor.config.patch("cpp.simdlen", 128),
    "functorch": lambda: torch._functorch.config.patch("functionalize_rng_ops", True),
    "custom pass": lambda: torch._inductor.config.patch("post_grad_custom_post_pass", Pass("mine")),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_what_decides_the_code_changes_the_key(name: str) -> None:
    x = values(8, 8)
    plain = captured_graph(project, x)
    with SWITCHES[name]():
        switched_graph = captured_graph(project, x)
    assert not set(keys(plain)) & set(keys(switched_graph))
    assert plain.target != switched_graph.target, "a factor says why"
    assert keys(captured_graph(project, x)) == keys(plain), "and only that"


def test_a_dtype_a_width_and_an_option_change_the_key() -> None:
    plain = set(keys(captured_graph(project, values(8, 8))))
    assert not plain & set(keys(captured_graph(project, values(8, 8).bfloat16())))
    assert not plain & set(keys(captured_graph(project, values(9, 9))))
    patched = captured_graph(project, values(8, 8), options={"epilogue_fusion": False})
    assert not plain & set(keys(patched))
    assert patched.options == {"epilogue_fusion": "false"}


def test_the_pass_decides_and_must_say_who_it_is() -> None:
    found = set()
    for name in ("one", "two"):
        with torch._inductor.config.patch("post_grad_custom_post_pass", Pass(name)):
            found.add(current_target(["cpu"]).fingerprint)
    assert len(found) == 2
    nameless = torch._inductor.config.patch("post_grad_custom_post_pass", Pass(None))
    with nameless, pytest.raises(Unsupported, match="uuid"):
        current_target(["cpu"])


HARMLESS = {
    "cpp.vec_isa_ok": True,
    "compile_threads": 7,
    "force_disable_caches": True,
    "fx_graph_cache": False,
    "fx_graph_remote_cache": True,
    "worker_start_method": "spawn",
    "trace.enabled": True,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_setting_that_changes_no_code_keeps_the_key(name: str) -> None:
    plain = current_target(["cpu"])
    with torch._inductor.config.patch(name, HARMLESS[name]):
        assert current_target(["cpu"]) == plain


def test_the_cache_folder_keeps_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = current_target(["cpu"])
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert current_target(["cpu"]) == plain


def test_the_target_names_the_instruction_set_and_torch() -> None:
    factors = current_target(["cpu"]).factors
    assert factors["cpu.capability"] == torch.backends.cpu.get_cpu_capability()
    assert factors["cpu.threads"] == str(torch.get_num_threads())
    assert factors["torch.version"] == torch.__version__
    assert len(factors["torch.key"]) == 64
    with pytest.raises(Unsupported, match="'hpu' aren't keyed"):
        current_target(["hpu"])


def test_the_order_of_captures_is_not_in_the_key() -> None:
    """Nothing is keyed by compile order: symbols are numbered a graph, not a process."""

    def other(x: torch.Tensor) -> torch.Tensor:
        return x.cos() * 2

    wide = values(8, 12)
    torch._dynamo.mark_dynamic(wide, 0)
    ab = captured_graph(decoder(), token_ids(16)), captured_graph(other, wide)
    ba = captured_graph(other, wide), captured_graph(decoder(), token_ids(16))
    assert keys(ab[0]) == keys(ba[1])
    assert keys(ab[1]) == keys(ba[0])
    assert ab[0].outer.digest == ba[1].outer.digest
    assert ab[0].guards_digest == ba[1].guards_digest


def test_the_outer_graph_tells_models_apart_that_share_pieces() -> None:
    three, five = captured_graph(decoder(3), token_ids(16)), captured_graph(decoder(5), token_ids(16))
    assert three.outer.digest != five.outer.digest
    assert three.outer.digest == captured_graph(decoder(3), token_ids(99)).outer.digest


def test_what_attention_does_is_in_the_outer_graph() -> None:
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    x = values(2, 4, 16, 16)
    causal = captured_graph(lambda x: sdpa(x, x, x, is_causal=True) * 2, x)
    full = captured_graph(lambda x: sdpa(x, x, x, is_causal=False) * 2, x)
    assert keys(causal) == keys(full)
    assert causal.outer.digest != full.outer.digest


GOLDEN = {
    "version": 1,
    "compiler": "inductor",
    "symbols": [{"name": "z0", "range": [4, 4096], "hint": 1024}],
    "guards": [],
    "inputs": [
        {"size": "z0"},
        {"dtype": "bfloat16", "device": "cpu", "shape": ["z0", 8], "stride": [8, 1], "offset": 0},
    ],
    "nodes": [
        ["fn:_operator.mul", [{"node": 0}, 2]],
        ["op:aten::mul.Tensor", [{"node": 1}, {"float": "0x1.999999999999ap-4"}]],
        ["method:to", [{"node": 3}], {"dtype": {"dtype": "float32"}}],
        ["fn:_operator.getitem", [{"node": 4}, {"tuple": [{"slice": [None, -1, None]}, {"ellipsis": True}]}]],
        ["fn:torch.nn.functional.silu", [{"node": 5}], {"inplace": False}],
    ],
    "outputs": {"list": [{"node": 6}, {"node": 2}]},
}
GOLDEN_DIGEST = "64070d0001e40cf019981525409952751912a8cdc606be0bc503ff39f050cd23"


def test_a_canonical_form_is_pinned() -> None:
    """If this fails, every key in every store is worth nothing: raise FORM_VERSION, knowingly."""
    mode, symbols, size = torch_private.fake_inputs([("tokens", 4, 4096, 64)])
    tokens = symbols["tokens"]
    with mode:
        inputs = [size(tokens), torch.empty(size(tokens), 8, dtype=torch.bfloat16)]
    graph = torch.fx.Graph()
    length, x = graph.placeholder("length"), graph.placeholder("x")
    doubled = graph.call_function(operator.mul, (length, 2))
    scaled = graph.call_function(torch.ops.aten.mul.Tensor, (x, 0.1))
    moved = graph.call_method("to", (scaled,), {"dtype": torch.float32})
    taken = graph.call_function(operator.getitem, (moved, (slice(None, -1), ...)))
    graph.output((graph.call_function(torch.nn.functional.silu, (taken,), {"inplace": False}), doubled))
    canonical = canonicalise(torch.fx.GraphModule(nn.Module(), graph), inputs)
    assert canonical.form == GOLDEN
    assert canonical.digest == GOLDEN_DIGEST
