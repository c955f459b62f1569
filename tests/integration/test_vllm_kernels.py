"""Which kernels a start of vLLM used, listed by the first node and fetched at once by others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_samples import TARGET, client
from inductory_client.client import Client
from inductory_client.contract.digest import digest_of
from inductory_client.foreign import ForeignCache
from inductory_client.integrations.vllm.counts import Counts
from inductory_client.integrations.vllm.kernels import TritonLevel, _keys
from inductory_client.integrations.vllm.model import ModelStart
from inductory_client.trouble import forget_warnings

pytest.importorskip("triton")

RUNNERS = f"ABC234/__grp__compute_slots.json/{'a' * 64}"
ANOTHER = f"DEF567/__grp__gather_tables.json/{'b' * 64}"
INDUCTORS = f"GHI234/__grp__triton_poi_fused_0.json/{'c' * 64}"
NATIVE = "JKL567/cuda_utils.so"


@pytest.fixture
def place(
    tmp_path: Path, store_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """A namespace of the test's own, which this process's Triton shares with."""
    from inductory_client.integrations.triton_cache import sharing, used

    forget_warnings()
    found = {
        "url": store_url,
        "namespace": "kernels-" + digest_of(request.node.name.encode())[:12],
        "config_dir": str(tmp_path / "config"),
    }
    for name, text in {**found, "cache_dir": str(tmp_path / "triton")}.items():
        monkeypatch.setenv(f"INDUCTORY_{name.upper()}", text)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "tritons-own"))
    monkeypatch.setattr(used, "_USED", {})
    monkeypatch.setattr(sharing, "_ARRIVED", {})
    sharing._settings.cache_clear()
    yield found
    sharing._settings.cache_clear()


def start_of(of: Client, key: str = "hash/rank_0_0") -> ModelStart:
    cache = ForeignCache(client=of, scheme="vllm", backend="vllm_aot", target=TARGET)
    kin = digest_of(b"a model")
    return ModelStart(
        cache=cache, key=key, kin=kin, options={"vllm.model": "tiny"}, label="", root="/", gpu=0
    )


def listed_by(node: Client, *used: str) -> Counts:
    """Have a node start a model that uses these kernels, and end its start."""
    from inductory_client.integrations.triton_cache.used import note_used

    counts = Counts(node)
    level = TritonLevel(counts)
    level.expect(start_of(node))
    for key in used:
        note_used(key)
    level.offer()
    assert node.publisher.drain(30)
    return counts


def list_in_store(node: Client) -> object:
    cache = ForeignCache(client=node, scheme="vllm", backend="vllm_triton", target=TARGET)
    found = cache.fetch(["hash/rank_0_0"])
    return json.loads(found["hash/rank_0_0"]["used.json"]) if found else None


def test_the_first_node_lists_what_inductor_did_not_generate(place: dict[str, str], tmp_path: Path) -> None:
    with client(tmp_path / "first", **place) as first:
        counts = listed_by(first, NATIVE, INDUCTORS, RUNNERS)
        assert (counts.offered, counts.missed) == ({"triton": 1}, {})
    with client(tmp_path / "second", **place) as second:
        assert list_in_store(second) == [RUNNERS, NATIVE]


@pytest.mark.parametrize("used", [(), (INDUCTORS,)])
def test_a_start_that_used_none_lists_none(
    place: dict[str, str], tmp_path: Path, used: tuple[str, ...]
) -> None:
    with client(tmp_path / "first", **place) as first:
        assert listed_by(first, *used).offered == {}
        assert list_in_store(first) is None


def test_another_node_has_them_before_triton_asks(place: dict[str, str], tmp_path: Path) -> None:
    from inductory_client.integrations.triton_cache import sharing
    from inductory_client.integrations.triton_cache.target import group_target

    files = {"compute_slots.cubin": b"\x7fELF" * 9, "compute_slots.json": b"{}"}
    with client(tmp_path / "first", **place) as first:
        triton = ForeignCache(client=first, scheme="triton", backend="triton", target=group_target())
        assert triton.offer(RUNNERS, files)
        listed_by(first, RUNNERS, ANOTHER)
    with client(tmp_path / "second", **place) as second:
        counts = Counts(second)
        level = TritonLevel(counts)
        level.expect(start_of(second))
        level.offer()
        assert (counts.served, counts.missed, counts.offered) == ({"triton": 1}, {}, {}), "one was there"
    assert {RUNNERS: files} == sharing._ARRIVED
    assert sharing.fetch(RUNNERS) == files


@pytest.mark.parametrize(
    "data", [b'{"key": 1}', b"[1, 2]", b'["key", null]', b'"key"', b"no JSON", b"", b"\xff"]
)
def test_what_is_no_array_of_texts_is_no_list(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"isn't a JSON array of texts|Expecting value|can't decode"):
        _keys(data)


def test_a_list_that_is_none_costs_the_kernels_alone(place: dict[str, str], tmp_path: Path) -> None:
    with client(tmp_path / "first", **place) as first:
        cache = ForeignCache(client=first, scheme="vllm", backend="vllm_triton", target=TARGET)
        assert cache.offer("hash/rank_0_0", {"used.json": b'{"not": "a list"}'})
        assert first.publisher.drain(30)
        counts = listed_by(first, RUNNERS)
    assert (counts.served, counts.missed, counts.offered) == ({}, {"triton": 1}, {})
    assert "the list of kernels isn't a JSON array of texts" in counts.line()


def test_keys_that_lead_elsewhere_are_not_asked_for(place: dict[str, str], tmp_path: Path) -> None:
    data = json.dumps(["../../etc/passwd", "/etc/passwd", "ABC/../x.so", "ABC\0.so"]).encode()
    with client(tmp_path / "first", **place) as first:
        cache = ForeignCache(client=first, scheme="vllm", backend="vllm_triton", target=TARGET)
        assert cache.offer("hash/rank_0_0", {"used.json": data})
        assert first.publisher.drain(30)
        counts = listed_by(first)
    assert (counts.served, counts.missed) == ({"triton": 0}, {})


def test_kernels_that_came_one_by_one_are_counted_too(
    place: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inductory_client.integrations.triton_cache import sharing
    from inductory_client.integrations.triton_cache.target import group_target

    monkeypatch.setattr(sharing, "_served", 0)
    with client(tmp_path / "first", **place) as first:
        triton = ForeignCache(client=first, scheme="triton", backend="triton", target=group_target())
        assert triton.offer(RUNNERS, {"compute_slots.json": b"{}"})
        assert first.publisher.drain(30)
    with client(tmp_path / "second", **place) as second:
        assert sharing.fetch(RUNNERS) is not None
        assert sharing.fetch(ANOTHER) is None
        assert listed_by(second, RUNNERS).served == {"triton": 1}
