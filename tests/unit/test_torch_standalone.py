"""Torch's standalone compile, as engines call it: the keys that are seen, and artifacts as bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from inductory_client.graph.torch_private import (
    deserialize_standalone,
    serialize_standalone,
    watched_cache_keys,
)
from torch._inductor import standalone_compile
from torch.fx import GraphModule

pytestmark = pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")
INPUT = torch.arange(8.0)


class Ended(BaseException):
    """As a level ends a compile whose outcome is there."""


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    yield
    torch._dynamo.reset()


def graph(scale: float = 3.0) -> GraphModule:
    """Return what Dynamo captures."""
    captured: list[GraphModule] = []

    def backend(graph: GraphModule, _: list[Any]) -> Callable[..., Any]:
        captured.append(graph)
        return graph.forward

    torch._dynamo.reset()
    torch.compile(lambda x: (x * scale).sin() + 1, backend=backend, fullgraph=True, dynamic=False)(INPUT)
    return captured[0]


def compiled(graph: GraphModule) -> Any:
    fake_mode = next(iter(graph.graph.nodes)).meta["example_value"].fake_mode
    with torch._guards.tracing(torch._guards.TracingContext(fake_mode)):
        return standalone_compile(graph, [INPUT], dynamic_shapes="from_graph", aot=True)


def keys_of(graph: GraphModule) -> list[str]:
    seen: list[str] = []
    with watched_cache_keys(seen.append):
        compiled(graph)
    return seen


def test_an_equal_graph_has_an_equal_key() -> None:
    first, again, other = keys_of(graph()), keys_of(graph()), keys_of(graph(scale=4.0))
    assert len(first) == 1
    assert first == again != other
    assert first[0].startswith("a")


def test_what_looks_may_end_the_compile() -> None:
    def ends(_: str) -> None:
        raise Ended

    with pytest.raises(Ended), watched_cache_keys(ends):
        compiled(graph())
    assert len(keys_of(graph())) == 1, "and the next one is seen again"


def test_whoever_was_around_the_key_before_is_still_called(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._functorch._aot_autograd import autograd_cache

    called: list[bool] = []
    inner: Callable[..., Any] = autograd_cache.autograd_cache_key

    def theirs(*args: Any, **kwargs: Any) -> Any:
        called.append(True)
        return inner(*args, **kwargs)

    monkeypatch.setattr(autograd_cache, "autograd_cache_key", theirs)
    assert len(keys_of(graph())) == 1
    assert called == [True]
    assert autograd_cache.autograd_cache_key is theirs


def test_a_key_drawn_by_lot_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._functorch._aot_autograd import autograd_cache

    def fails(*_: Any) -> None:
        raise RuntimeError("no key for this graph")

    monkeypatch.setattr(autograd_cache, "check_cacheable", fails)
    with torch._functorch.config.patch(bypass_autograd_cache_key=True):
        assert keys_of(graph()) == []


def test_an_artifact_survives_as_bytes() -> None:
    artifact = compiled(graph())
    expected = artifact(INPUT)[0]
    loaded = deserialize_standalone(serialize_standalone(artifact))
    assert torch.equal(loaded(INPUT)[0], expected)
