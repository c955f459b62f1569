"""The entry `torch.compile(backend="inductory")`: settings, policies, and graphs that are left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from inductory_client.contract.errors import BadSettings, PieceMissing
from inductory_client.graph.report import GraphReport, reports
from torch._dynamo.exc import BackendCompilerFailed
from torch.nn.functional import silu
from torch_cases import CASES, close, outputs
from torch_known import runs_flex_attention
from torch_machine import Machine
from torch_models import attend, decoder, heads, token_ids, values
from torch_sessions import Node, compile_case, three_pieces, warned


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Options for a machine of the test's own, with no store."""
    return {"cache_dir": tmp_path / "cache", "config_dir": tmp_path / "config", "url": ""}


@pytest.fixture(autouse=True)
def _captured_anew() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def new_reports(before: int) -> list[GraphReport]:
    return list(reports()[before:])


def run(function: Callable[..., Any], inputs: tuple[Any, ...], **arguments: Any) -> list[GraphReport]:
    """Compile and call; the result is right, or this raises. Returns what became of each graph."""
    before = len(reports())
    compiled = torch.compile(function, backend="inductory", **arguments)
    assert close(outputs(compiled, inputs), outputs(function, inputs))
    return new_reports(before)


def test_an_unknown_option_is_an_error_that_names_the_nearest(options: dict[str, Any]) -> None:
    with pytest.raises(BackendCompilerFailed, match="did you mean on_miss") as caught:
        run(silu, (heads(),), options={**options, "on_mis": "error"})
    assert isinstance(caught.value.inner_exception, BadSettings)


def test_the_policy_error_raises_what_is_missing(options: dict[str, Any]) -> None:
    with pytest.raises(BackendCompilerFailed, match="3 of 3 pieces") as caught:
        run(*three_pieces(), options={**options, "on_miss": "error"})
    assert isinstance(caught.value.inner_exception, PieceMissing)


def test_the_policy_error_is_content_with_what_is_there(tmp_path: Path, options: dict[str, Any]) -> None:
    compiled = compile_case(three_pieces())
    Node(tmp_path).keep(*compiled.drafts)
    (report,) = run(*three_pieces(), options={**options, "on_miss": "error"})
    assert (report.outcome, report.hits) == ("loaded", 3)


def test_disabled_is_stock_inductor_and_touches_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    with warned() as warnings:
        (report,) = run(*three_pieces(), options={**options, "disabled": True})
    assert (report.outcome, report.pieces, warnings) == ("stock", 0, [])
    assert not (tmp_path / "cache").exists()


def test_inductors_own_settings_reach_the_compiler_and_the_key(options: dict[str, Any]) -> None:
    case = CASES["bare_tensor"]()
    plain = run(*case, options=options)
    torch._dynamo.reset()
    patched = run(*case, options={**options, "config_patches": {"cpp.simdlen": 0}})
    assert [r.outcome for r in plain + patched] == ["compiled", "compiled"]
    assert plain[0].keys != patched[0].keys


# --- several graphs of one model ---


def test_every_graph_has_a_manifest_and_the_model_one_build(options: dict[str, Any]) -> None:
    """A second batch size is captured again, and so is what lies behind a graph break."""

    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = silu(x + 1)
            torch._dynamo.graph_break()
            return attend(y) * 3

    before = len(reports())
    model = Broken().eval()
    compiled = torch.compile(model, backend="inductory", dynamic=False, options=options)
    with torch.no_grad():
        for x in (heads(), heads()[:1]):
            assert torch.allclose(compiled(x), model(x), atol=1e-5)
    found = new_reports(before)
    assert [report.outcome for report in found] == ["compiled"] * 4
    assert len({report.manifest for report in found}) == 4
    assert len({report.build for report in found}) == 1


def test_the_order_of_captures_changes_no_key(tmp_path: Path) -> None:
    """Batches A then B, and on another machine B then A."""
    found = []
    for place, batches in enumerate([(2, 3), (3, 2)]):
        torch._dynamo.reset()
        folder = tmp_path / str(place)
        options = {"cache_dir": folder / "cache", "config_dir": folder / "config", "url": ""}
        before, model = len(reports()), decoder(1)
        compiled = torch.compile(model, backend="inductory", dynamic=False, options=options)
        with torch.no_grad():
            for batch in batches:
                compiled(token_ids(8, batch, dynamic=False))
        found.append({r.manifest: r.keys for r in new_reports(before)})
    assert found[0] == found[1]
    assert len(found[0]) == 2


@pytest.mark.parametrize("start", ["compiled", "loaded"])
def test_an_output_that_is_a_view_shares_its_inputs_memory(
    start: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    function, (x,) = CASES["views"]()
    if start == "loaded":
        Node(tmp_path).keep(*compile_case((function, (x,))).drafts)
        torch._dynamo.reset()
    before = len(reports())
    with torch.no_grad():
        narrowed, _, flat = torch.compile(function, backend="inductory", options=options)(x)
    assert [report.outcome for report in new_reports(before)] == [start]
    assert narrowed.data_ptr() == flat.data_ptr() == x.data_ptr()
    x.fill_(7)
    assert narrowed.unique().tolist() == flat.unique().tolist() == [7]


# --- left alone ---


def test_training_is_stock_inductors_and_its_gradients_right(options: dict[str, Any]) -> None:
    weight = values(16, 16).requires_grad_()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (silu(x @ weight) ** 2).sum()

    before = len(reports())
    with warned() as warnings:
        torch.compile(loss, backend="inductory", options=options)(heads()).backward()
    found, weight.grad = weight.grad, None
    loss(heads()).backward()
    assert torch.allclose(found, weight.grad, rtol=1e-4)
    (report,) = new_reports(before)
    assert report.outcome == "stock"
    assert len(warnings) == 1
    assert "gradients are wanted" in warnings[0]


def test_gradients_that_the_model_enables_itself_come_out(options: dict[str, Any]) -> None:
    weight = values(16, 16).requires_grad_()

    def function(x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            return x @ weight

    with torch.no_grad():
        found = torch.compile(function, backend="inductory", options=options)(heads())
    assert found.requires_grad


def test_sizes_that_depend_on_data_break_or_go_to_stock_inductor(options: dict[str, Any]) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return (x.flatten().nonzero() * 2).sum() + x.sum()

    broken = run(function, (heads(),), options=options)
    assert {report.outcome for report in broken} == {"compiled"}, "a graph break, and a graph on each side"
    torch._dynamo.reset()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True), warned() as warnings:
        whole = run(function, (heads(),), options=options)
    assert [report.outcome for report in whole] == ["stock"]
    assert len(warnings) == 1
    assert "depends on data" in warnings[0]


def test_writes_to_shared_memory_go_to_stock_inductor(options: dict[str, Any]) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        view = x[:1]
        attended = attend(x + 1)
        view.mul_(2)
        return attended + x

    with warned() as warnings:
        (report,) = run(function, (heads(),), options=options)
    assert report.outcome == "stock"
    assert len(warnings) == 1
    assert "share memory" in warnings[0]


def test_autocast_and_inference_mode_around_the_model(options: dict[str, Any]) -> None:
    weight = values(16, 16)

    def function(x: torch.Tensor) -> torch.Tensor:
        return attend(x @ weight) @ weight

    compiled = torch.compile(function, backend="inductory", options=options)
    with torch.inference_mode():
        assert torch.allclose(compiled(heads()), function(heads()), atol=1e-4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, expected = compiled(heads()), function(heads())
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.allclose(found, expected, atol=5e-2)


@runs_flex_attention
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_is_split_and_right(options: dict[str, Any]) -> None:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 16, 16, device="cpu")

    def function(x: torch.Tensor) -> torch.Tensor:
        return silu(flex_attention(x + 1, x, x, block_mask=mask)) * 2

    (report,) = run(function, (heads(),), options=options)
    assert (report.outcome, report.submodules, report.pieces) == ("compiled", 3, 2)


# --- a node that only loads ---


def test_a_node_without_the_compiler_loads_and_leaves_the_rest_to_stock_inductor(tmp_path: Path) -> None:
    compiled = compile_case(CASES["bare_tensor"]())
    Node(tmp_path).keep(*compiled.drafts)
    ran = Machine(tmp_path).run(
        "case",
        "bare_tensor",
        "views",
        code="sys.modules['inductory_compiler'] = None",
    )
    assert ran.outcomes == ["loaded", "stock"], ran.reasons
    assert all(result["close"] for result in ran.results.values())
    assert len(ran.warnings) == 1
    assert "this installation has no compiler" in ran.warnings[0]
