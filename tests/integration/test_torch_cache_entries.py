"""torch's entries at a real store, and at stores that misbehave: what isn't whole and trusted isn't there."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from client_samples import settings
from inductory_client.graph import factors
from inductory_client.integrations.torch_entries import TorchEntries, files_of_value, value_of
from inductory_client.shared import shared_client
from inductory_client.trouble import forget_warnings
from misbehaving import Handler, Misbehaving, always, answer, dripping, refused, silent

KEY = "pt2:fx-graph-v1::fabc:c1"
AUTOTUNED = json.dumps({"a.best_config": {"XBLOCK": 64}}).encode()


def entry(data: bytes = b"\x80pickled" * 40) -> bytes:
    """What torch would put into Redis."""
    return json.dumps({"data": base64.b64encode(data).decode("ascii"), "time_taken_ms": 1500}).encode()


class Side:
    """The entries of one machine, with folders of its own."""

    def __init__(self, folder: Path, url: str, **changes: Any) -> None:
        place = {"url": url, "namespace": folder.parent.name.replace("_", "-")[:60], "store_deadline_s": 30.0}
        chosen = settings(folder, **{**place, "config_dir": folder.parent / "config", **changes})
        self.entries = TorchEntries(chosen)
        self.client = shared_client(chosen)


@pytest.fixture
def sides(tmp_path: Path, store_url: str) -> Iterator[tuple[Side, Side]]:
    """A builder and a node that trusts it."""
    builder, node = Side(tmp_path / "builder", store_url), Side(tmp_path / "node", store_url)
    yield builder, node
    builder.client.close()
    node.client.close()


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


def published(side: Side, key: str = KEY, value: bytes | None = None) -> None:
    side.entries.put(key, entry() if value is None else value)
    assert side.client.publisher.drain(30)


@pytest.mark.parametrize(
    "value", [entry(), AUTOTUNED, b'{"data": 3}', b'{"data": "not base64"}', b"[]", b"{"]
)
def test_a_value_comes_back_as_torch_put_it(value: bytes) -> None:
    assert value_of(files_of_value(value)) == value


def test_bytes_travel_as_bytes() -> None:
    files = files_of_value(entry(b"abc"))
    assert files["data"] == b"abc"
    assert set(files_of_value(AUTOTUNED)) == {"value.json"}


def test_entries_come_back_on_another_machine(sides: tuple[Side, Side]) -> None:
    builder, node = sides
    assert builder.entries.get(KEY) is None
    published(builder)
    published(builder, "pt2:bundled-autotune-v1::b:c1", AUTOTUNED)
    assert node.entries.get(KEY) == entry()
    assert node.entries.get("pt2:bundled-autotune-v1::b:c1") == AUTOTUNED
    assert node.entries.get("pt2:fx-graph-v1::another:c1") is None
    (kept,) = [each for each in node.client.cas.artifacts() if each.subject.scheme_key == KEY]
    assert (kept.subject.scheme, kept.provenance.compile_seconds) == ("inductor", 1.5)


def test_what_decides_code_and_isnt_in_torchs_key_makes_a_miss(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    builder, node = sides
    published(builder)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert node.entries.get(KEY) is None
    finally:
        torch.set_num_threads(threads)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert node.entries.get(KEY) is None
    with monkeypatch.context() as patched:
        software = {**factors.process_target().factors, "torch.version": "2.99.0"}
        patched.setattr(factors._SOFTWARE, "value", lambda: software)
        assert node.entries.get(KEY) is None
    with monkeypatch.context() as patched:
        patched.setattr(factors, "_cpu_features", lambda: "sse2")
        assert node.entries.get(KEY) is None
    assert node.entries.get(KEY) == entry(), "and none of them is remembered"
    named = [record.getMessage() for record in caplog.records if "the nearest" in record.getMessage()]
    assert [text.partition(" in ")[2].partition(":")[0] for text in named] == [
        "cpu.threads",
        "autocast.cpu",
        "torch.version",
        "cpu.features",
    ]


def test_an_entry_is_put_for_the_modes_in_which_it_was_asked_for(sides: tuple[Side, Side]) -> None:
    """A backward is compiled where its forward's autocast is over."""
    builder, node = sides
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert builder.entries.get(KEY) is None
    published(builder)
    assert node.entries.get(KEY) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert node.entries.get(KEY) == entry()


def test_settings_of_caches_are_no_factor() -> None:
    """Who serves torch's caches and uses `backend="inductory"`, too, finds what others published."""
    import torch._functorch.config

    plain = factors.current_target(["cpu"])
    with torch._functorch.config.patch(enable_remote_autograd_cache=True):
        assert factors.current_target(["cpu"]) == plain


def test_damaged_bytes_arent_given_to_torch(
    sides: tuple[Side, Side], caplog: pytest.LogCaptureFixture
) -> None:
    builder, node = sides
    published(builder)
    assert node.entries.get(KEY) == entry()
    for path in (node.client.settings.cache_dir / "cas").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[::-1])
    assert node.entries.get(KEY) == entry(), "the store has the right ones"


def test_what_a_stranger_signed_isnt_given_to_torch(
    tmp_path: Path, store_url: str, sides: tuple[Side, Side], caplog: pytest.LogCaptureFixture
) -> None:
    builder, _ = sides
    published(builder)
    alone = Side(tmp_path / "alone", store_url, config_dir=tmp_path / "keys-of-its-own")
    with caplog.at_level(logging.WARNING, "inductory"):
        assert alone.entries.get(KEY) is None
        assert alone.entries.get(KEY) is None
    assert len([record for record in caplog.records if "isn't trusted here" in record.getMessage()]) == 1
    alone.client.close()


@pytest.mark.parametrize(
    "handler",
    [
        silent,
        always(answer(b"{}")),
        always(answer(b"<html>", status=b"500 Oh")),
        always(b"\x00\xff" * 100, hang_up=True),
        dripping(b"x", first=answer(b"", length=10_000)),
    ],
    ids=["hangs", "lies", "fails", "babbles", "drips"],
)
def test_a_store_that_misbehaves_is_a_miss(
    handler: Handler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Misbehaving(handler) as store:
        side = Side(tmp_path / "node", store.url, store_deadline_s=0.3, publish=False, drain_s=0.1)
        assert [side.entries.get(f"{KEY}{number}") for number in range(4)] == [None] * 4
        side.client.close()
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert told, "once for each kind of trouble"
    assert len(told) <= 2


def test_a_store_that_isnt_there_is_a_miss(tmp_path: Path) -> None:
    with refused() as url:
        side = Side(tmp_path / "node", url, publish=False)
        assert side.entries.get(KEY) is None
        side.entries.put(KEY, entry())
        assert side.client.publisher.drain(30)
        assert side.entries.get(KEY) == entry(), "what was compiled here is kept here"
        side.client.close()
