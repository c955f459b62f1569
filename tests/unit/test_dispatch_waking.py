"""What is woken on a GPU, and with what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.fx
from inductory_client.graph.canonical import canonicalise_attention
from inductory_client.graph.dispatch import waking
from inductory_client.graph.dispatch.container import Example
from inductory_client.graph.dispatch.waking import examples_of, wake
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")
HEADS = Example("bfloat16", (1, 2, 16, 8), (256, 8, 16, 1))


class Asked:
    """Something that can be woken."""

    def __init__(self) -> None:
        self.with_: list[Any] = []
        self.thread: str = ""
        self.done = threading.Event()

    def __call__(self, *inputs: Any) -> None:
        self.with_ = [(v.shape, v.stride(), v.dtype) if isinstance(v, torch.Tensor) else v for v in inputs]
        self.thread = threading.current_thread().name
        self.done.set()


@pytest.fixture(autouse=True)
def _asleep() -> Iterator[None]:
    waking._BEGUN.clear()
    yield
    waking._BEGUN.clear()


def fake(length: Any, mode: FakeTensorMode, device: torch.device = GPU) -> FakeTensor:
    meta = torch.empty((1, length, 2, 8), dtype=torch.bfloat16, device="meta").transpose(1, 2)
    return FakeTensor(mode, meta, device)


def symbol(mode: FakeTensorMode) -> Any:
    varying = [DimDynamic.STATIC, DimDynamic.DYNAMIC]
    tensor = mode.from_tensor(torch.zeros(1, 40), symbolic_context=StatelessSymbolicContext(varying))
    return tensor.shape[1]


def attention(target: Any = torch.nn.functional.scaled_dot_product_attention, **named: Any) -> Any:
    graph = torch.fx.Graph()
    _length, q, k, v = (graph.placeholder(name) for name in ("length", "q", "k", "v"))
    graph.output((graph.call_function(target, (q, k, v), named),))
    return torch.fx.GraphModule(torch.nn.Module(), graph)


def examples(module: Any, length: Any, mode: FakeTensorMode, device: torch.device = GPU) -> Any:
    inputs = [length, *(fake(length, mode, device) for _ in range(3))]
    return examples_of(canonicalise_attention(module, inputs), inputs)


def test_attention_is_woken_with_what_it_was_captured_with() -> None:
    found = examples(attention(is_causal=True, dropout_p=0.0), 40, FakeTensorMode())
    assert found == (40, *[Example("bfloat16", (1, 2, 40, 8), (640, 8, 16, 1))] * 3)


def test_lengths_that_vary_are_canonical_and_not_the_first_calls() -> None:
    mode = FakeTensorMode(shape_env=ShapeEnv())
    found = examples(attention(), symbol(mode), mode)
    assert found == (1024, *[Example("bfloat16", (1, 2, 1024, 8), (16384, 8, 16, 1))] * 3)


def test_what_draws_numbers_is_left_asleep() -> None:
    assert examples(attention(dropout_p=0.1), 40, FakeTensorMode()) == ()


def test_what_is_not_torchs_attention_is_left_asleep() -> None:
    assert examples(attention(torch.addcmul), 40, FakeTensorMode()) == ()


def test_nothing_sleeps_on_a_cpu() -> None:
    assert examples(attention(), 40, FakeTensorMode(), CPU) == ()


def test_a_part_is_called_in_a_thread_with_memory_of_that_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_host = waking._made
    monkeypatch.setattr(waking, "_made", lambda given, device: on_the_host(given, CPU))
    part = Asked()
    wake([(part, (7, HEADS))], GPU)
    assert part.done.wait(60)
    assert part.with_ == [7, (HEADS.sizes, HEADS.strides, torch.bfloat16)]
    assert part.thread == "inductory-wake-attention"


def test_it_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "_call", lambda parts, device: None)
    first, again, other = (
        [thread.name for thread in begun(parts, monkeypatch)]
        for parts in ([(Asked(), (HEADS,))], [(Asked(), (HEADS,))], [(Asked(), (3, HEADS))])
    )
    assert first == other == ["inductory-wake-attention", "inductory-wake-product"]
    assert again == []


def begun(parts: Any, monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    started: list[threading.Thread] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: started.append(thread))
        wake(parts, GPU)
    return started


@pytest.mark.parametrize(
    ("parts", "device"), [([], GPU), ([(Asked(), ())], GPU), ([(Asked(), (HEADS,))], CPU)]
)
def test_without_a_gpu_or_a_part_nothing_begins(
    parts: Any, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))
    wake(parts, device)
    assert started == []


def test_trouble_stays_in_the_thread() -> None:
    huge = Example("bfloat16", (1 << 20, 1 << 20), (1 << 20, 1))
    part = Asked()
    waking._call([(part, (huge,))], CPU)
    assert not part.done.is_set(), "it would have taken two tebibytes"
    waking._call([(part, (Example("no such type", (1,), (1,)),))], CPU)
    assert not part.done.is_set()
