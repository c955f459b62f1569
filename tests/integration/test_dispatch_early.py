"""A build that is prefetched for a GPU tells its libraries what to wake with, before any model is there."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from client_samples import client, dispatched, publication
from inductory_client.contract.errors import BadSettings
from inductory_client.graph.dispatch import early
from inductory_client.graph.dispatch.container import Called, Example, Header, pack
from inductory_client.graph.dispatch.signature import call_of
from inductory_client.shared import prefetch, take_prefetched
from store_process import StoreProcess

HEADS = Example("bfloat16", (1, 2, 16, 8), (256, 8, 16, 1))
ATTENTION = Called(
    form={
        "inputs": [None] * 3,
        "nodes": [["fn:torch._C._nn.scaled_dot_product_attention", [{"node": n} for n in range(3)]]],
        "outputs": {"list": [{"node": 3}]},
    },
    bare=True,
    examples=(HEADS, HEADS, HEADS),
)
HEADER = Header(
    name="forward",
    signature=call_of((torch.zeros(2, 5),), {}).signature,
    devices=("cuda",),
    sources={},
    classes={},
    operators=(),
    globals={},
    graph="graph",
    outer={"inputs": [], "nodes": [], "outputs": {"list": []}},
    parts={"0": ATTENTION},
)


class Woken:
    """What was asked of `wake`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, torch.device]] = []
        self.called = threading.Event()

    def __call__(self, parts: Any, device: torch.device) -> None:
        self.calls.append((list(parts), device))
        self.called.set()


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> Woken:
    found = Woken()
    monkeypatch.setattr(early, "wake", found)
    take_prefetched()
    return found


def early_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "inductory-early"]


def start(folder: Path, data: bytes, **more: Any) -> None:
    """Publish a build whose dispatch is `data`, prefetch it in a node, and see what wakes."""
    config = folder / "config"
    with StoreProcess(folder / "store") as store:
        with client(folder / "builder", url=store.url, config_dir=config) as builder:
            report = builder.publisher.publish_now(dispatched(publication("a"), data))
        places = {"url": store.url, "config_dir": config, "cache_dir": folder / "cache"}
        prefetch(build=report.build, **places, **more)
        early.begin()
        for thread in early_threads():
            thread.join()


def test_libraries_wake_with_what_the_builds_dispatches_say(tmp_path: Path, woken: Woken) -> None:
    start(tmp_path, pack(HEADER, b"never unpickled here"), device="cuda:1")
    ((parts, device),) = woken.calls
    ((call, inputs),) = parts
    assert device == torch.device("cuda:1")
    assert inputs == ATTENTION.examples
    q = torch.randn(1, 2, 16, 8)
    assert torch.equal(call(q, q, q), torch.nn.functional.scaled_dot_product_attention(q, q, q))


def test_without_a_gpu_nothing_wakes(tmp_path: Path, woken: Woken) -> None:
    start(tmp_path, pack(HEADER, b""))
    assert woken.calls == []


def test_what_is_no_dispatch_wakes_nothing_and_nobody_is_bothered(tmp_path: Path, woken: Woken) -> None:
    start(tmp_path, b"something else", device="cuda")
    assert woken.calls == []


@pytest.mark.parametrize("device", ["cpu", "cuda:", "cuda:x", "gpu0", ""])
def test_what_names_no_gpu_is_refused(device: str) -> None:
    with pytest.raises(BadSettings, match="cuda:0"):
        prefetch(device=device)
