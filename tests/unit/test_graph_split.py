"""Splitting at attention: what the parts are, and that the split graph still computes the same."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from inductory_client.graph.captured import CapturedGraph, holds_here
from inductory_client.graph.split import split_graph
from inductory_client.graph.unsupported import Unsupported
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention as sdpa
from torch.nn.functional import silu
from torch_capturing import captured_graph, captured_graphs, keys
from torch_models import attend, decoder, heads, token_ids, values

Function = Callable[..., Any]


def parts(graph: CapturedGraph) -> str:
    """Draw a split: p for a piece, A for attention."""
    return "".join("A" if part.attention else "p" for part in graph.split.parts)


@torch.library.custom_op("inductory_tests::attend", mutates_args=())
def custom_attend(x: torch.Tensor) -> torch.Tensor:
    return x * 3


@custom_attend.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("inductory_tests::attend_twice", mutates_args=())
def custom_attend_twice(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x * 3, x * 4


@custom_attend_twice.register_fake
def _(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


SPLITS: dict[str, tuple[Function, str]] = {
    "between": (lambda x: silu(attend(x + 1)), "pAp"),
    "first": (lambda x: silu(attend(x)), "Ap"),
    "last": (lambda x: attend(silu(x)), "pA"),
    "only": (lambda x: attend(x), "A"),
    "in a row": (lambda x: silu(attend(attend(x + 1))), "pAAp"),
    "nothing to split": (lambda x: silu(x) * 2, "p"),
    "by aten": (lambda x: torch.ops.aten.scaled_dot_product_attention(x + 1, x, x) * 2, "pAp"),
    "a custom op": (lambda x: silu(torch.ops.inductory_tests.attend(x + 1)), "pAp"),
    "several outputs": (lambda x: sum(torch.ops.inductory_tests.attend_twice(x + 1)) * 2, "pAp"),
}
NAMED = ("inductory_tests::attend", "inductory_tests::attend_twice")


@pytest.mark.parametrize("name", SPLITS)
def test_the_split(name: str) -> None:
    function, drawn = SPLITS[name]
    graph = captured_graph(function, heads(), splitting_ops=NAMED)
    assert parts(graph) == drawn
    assert [part.index for part in graph.split.parts] == list(range(len(drawn)))
    assert torch.equal(graph.split.outer(heads())[0], function(heads()))


def test_a_custom_op_is_split_at_by_name_only() -> None:
    packet, overload = torch.ops.inductory_tests.attend, torch.ops.inductory_tests.attend.default
    for op, spelling in [(packet, NAMED[0]), (overload, NAMED[0]), (overload, f"{NAMED[0]}.default")]:
        assert parts(captured_graph(lambda x, op=op: silu(op(x + 1)), heads())) == "p"
        split = captured_graph(lambda x, op=op: silu(op(x + 1)), heads(), splitting_ops=[spelling])
        assert parts(split) == "pAp"


def test_flex_attention_keeps_its_functions_and_its_outputs() -> None:
    block_mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 16, 16, device="cpu")

    def flexed(scale: int) -> CapturedGraph:
        def score(s: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
            return s * scale + (i - j)

        def function(x: torch.Tensor) -> torch.Tensor:
            return silu(flex_attention(x + 1, x, x, score_mod=score, block_mask=block_mask)) * 2

        return captured_graph(function, heads())

    two, three = flexed(2), flexed(3)
    assert parts(two) == "pAp"
    assert keys(two) == keys(three)
    assert two.outer.digest != three.outer.digest, "the score function is in the outer graph"


def test_autocast_reaches_every_part() -> None:
    weight = values(16, 16)

    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            projected = x @ weight
            attended = attend(projected) @ weight
        return attended.float() + x, attended

    graph = captured_graph(function, heads())
    assert parts(graph) == "pAp"
    found, expected = graph.split.outer(heads(), weight), function(heads())
    assert [x.dtype for x in found] == [x.dtype for x in expected]
    assert all(map(torch.equal, found, expected))
    plain = captured_graph(lambda x: (attend(x @ weight) @ weight) + x, heads())
    assert not set(keys(graph)) & set(keys(plain))


def test_the_captured_graph_stays_as_it_is() -> None:
    """Stock Inductor gets it where we fail."""
    seen: list[tuple[str, str]] = []

    def backend(module: torch.fx.GraphModule, inputs: list[Any]) -> Function:
        before = module.print_readable(print_output=False)
        split_graph(module)
        seen.append((before, module.print_readable(print_output=False)))
        return module.forward

    torch._dynamo.reset()
    with torch.no_grad():
        torch.compile(decoder(), backend=backend)(token_ids(16))
    assert [before == after for before, after in seen] == [True]


def test_a_graph_break_makes_two_graphs_with_keys_of_their_own() -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        x = silu(x + 1)
        torch._dynamo.graph_break()
        return attend(x) * 2

    one, two = captured_graphs(broken, heads())
    assert (parts(one), parts(two)) == ("p", "Ap")
    assert one.outer.digest != two.outer.digest


# --- what is left alone ---


def test_gradients_are_left_to_stock_inductor() -> None:
    with pytest.raises(Unsupported, match="gradients are wanted"):
        captured_graph(decoder(), token_ids(16), grad=True)
    with pytest.raises(Unsupported, match="gradients are wanted"):
        captured_graph(decoder().train(), token_ids(16), grad=True)


def test_gradients_that_the_model_itself_enables_are_too() -> None:
    weight = torch.nn.Parameter(values(16, 16))

    def function(x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            return x @ weight

    with pytest.raises(Unsupported, match="gradients are wanted"):
        captured_graph(function, heads())


DATA_DEPENDENT: dict[str, Function] = {
    "inside a piece": lambda x: x.flatten().nonzero().sum() * 2,
    "between pieces": lambda x: silu(x[:, :, attend(x)[0, 0, 0].nonzero().flatten()]),
    "a number": lambda x: x * x.sum().to(torch.int64).item(),
}


@pytest.mark.parametrize("name", DATA_DEPENDENT)
def test_sizes_that_depend_on_data_are(name: str) -> None:
    dynamo = {"capture_dynamic_output_shape_ops": True, "capture_scalar_outputs": True}
    with torch._dynamo.config.patch(dynamo), pytest.raises(Unsupported, match="depends on data"):
        captured_graph(DATA_DEPENDENT[name], heads())


class Wrapped(torch.Tensor):
    """A tensor subclass that Dynamo can trace."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Wrapped:
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)  # type: ignore[attr-defined]
        made.inner = inner
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], *_: Any) -> Wrapped:
        return Wrapped(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        unwrapped = torch.utils._pytree.tree_map_only(Wrapped, lambda x: x.inner, args)
        return torch.utils._pytree.tree_map_only(
            torch.Tensor, Wrapped, function(*unwrapped, **(kwargs or {}))
        )


def test_tensor_subclasses_are() -> None:
    with pytest.raises(Unsupported, match="subclass, Wrapped"):
        captured_graph(lambda x: x * 2, Wrapped(heads()))


def test_lazy_conjugates_are() -> None:
    conjugate = torch.view_as_complex(values(4, 2)).conj()
    with pytest.raises(Unsupported, match="conjugate"):
        captured_graph(lambda x: x * 2, conjugate)


WRITES: dict[str, Function] = {
    "method": lambda whole, view: view.mul_(2),
    "operator": lambda whole, view: operator.imul(view, 2),
    "index": lambda whole, view: view.__setitem__(0, 1.0),
    "out": lambda whole, view: torch.add(view, 1, out=view),
    "aten": lambda whole, view: torch.ops.aten.mul_.Tensor(view, 2),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_to_memory_that_inputs_share_are(name: str) -> None:
    def function(whole: torch.Tensor) -> torch.Tensor:
        view = whole[:1]
        attended = attend(whole + 1)
        WRITES[name](whole, view)
        return attended + whole

    with pytest.raises(Unsupported, match="share memory"):
        captured_graph(function, heads())


def test_writes_to_memory_that_only_one_input_has_are_not() -> None:
    def function(cache: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        cache.index_copy_(2, torch.tensor([3]), x[:, :, :1])
        return attend(cache) + x

    assert parts(captured_graph(function, heads().clone(), heads())) == "pAp"


def test_a_collective_is_for_its_group_is_named_in_the_code() -> None:
    """The name of a group decides where the code sends; another process may call another group so."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for group in (dist.group.WORLD, dist.new_group([0])):
            with pytest.raises(Unsupported, match=r"all_reduce, whose process group"):
                captured_graph(_reduced, heads(), group)
    finally:
        dist.destroy_process_group()


def _reduced(x: torch.Tensor, group: Any) -> torch.Tensor:
    import torch.distributed as dist

    y = x * 2
    dist.all_reduce(y, group=group)
    return y + 1


# --- conditions that compiling adds ---


def test_conditions_are_checked_against_the_sizes_at_hand() -> None:
    graph = captured_graph(decoder(), token_ids(16))
    key = keys(graph)[0]
    assert holds_here(graph, key, [])
    assert holds_here(graph, key, ['["GreaterThan","z0",2]', '["StrictLessThan","z0",4096]'])
    assert not holds_here(graph, key, ['["StrictGreaterThan","z0",4096]'])
    assert not holds_here(graph, key, ['["GreaterThan","z0",2]', '["Equality",["Mod","z0",5],0]'])


def test_a_condition_that_holds_becomes_a_guard_of_dynamos() -> None:
    """The code of a piece for at most 4096 tokens isn't run for more: Dynamo captures again."""
    from inductory_client.graph.captured import capture

    calls: list[int] = []

    def backend(module: torch.fx.GraphModule, inputs: list[Any]) -> Function:
        graph = capture(module, inputs)
        calls.append(holds_here(graph, graph.pieces[0].key, ['["StrictLessThan","z0",100]']))
        return module.forward

    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(decoder(), backend=backend)
        for length in (16, 99, 100, 17):
            compiled(token_ids(length))
    assert calls == [True, False], "captured for 16, right for 99, captured again for 100"


@pytest.mark.parametrize("guard", ['["GreaterThan","z9",2]', '["os.system","z0"]', "not json", "{}", "[]"])
def test_a_condition_that_cannot_be_read_is_not_true(guard: str) -> None:
    graph = captured_graph(decoder(), token_ids(16))
    assert not holds_here(graph, keys(graph)[0], [guard])


def test_sdpa_under_every_name_is_attention() -> None:
    for function in (sdpa, torch._C._nn.scaled_dot_product_attention):
        assert parts(captured_graph(lambda x, f=function: f(x + 1, x, x) * 2, heads())) == "pAp"
