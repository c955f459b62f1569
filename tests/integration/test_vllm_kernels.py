"""Which kernels a start of vLLM used, listed by the first node and fetched at once by others."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_samples import TARGET, client
from inductory_client.client import Client
from inductory_client.contract.digest import digest_of
from inductory_client.foreign import ForeignCache
from inductory_client.graph.torch_private import names_of_source
from inductory_client.integrations.vllm import kernels
from inductory_client.integrations.vllm.counts import Counts
from inductory_client.integrations.vllm.kernels import TritonLevel, _keys
from inductory_client.integrations.vllm.model_start import ModelStart
from inductory_client.integrations.vllm.tuned import write_settings
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
    monkeypatch.setattr(sharing, "_served", 0)
    sharing._settings.cache_clear()
    yield found
    sharing._settings.cache_clear()


def start_of(of: Client, key: str = "hash/rank_0_0", root: str = "/nowhere", gpu: int = 0) -> ModelStart:
    cache = ForeignCache(client=of, scheme="vllm", backend="vllm_aot", target=TARGET)
    kin = digest_of(b"a model")
    return ModelStart(
        cache=cache, key=key, kin=kin, options={"vllm.model": "tiny"}, label="", root=root, gpu=gpu
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


def test_kernels_that_came_one_by_one_are_counted_too(place: dict[str, str], tmp_path: Path) -> None:
    from inductory_client.integrations.triton_cache import sharing
    from inductory_client.integrations.triton_cache.target import group_target

    with client(tmp_path / "first", **place) as first:
        triton = ForeignCache(client=first, scheme="triton", backend="triton", target=group_target())
        assert triton.offer(RUNNERS, {"compute_slots.json": b"{}"})
        assert first.publisher.drain(30)
    with client(tmp_path / "second", **place) as second:
        assert sharing.fetch(RUNNERS) is not None
        assert sharing.fetch(ANOTHER) is None
        assert listed_by(second, RUNNERS).served == {"triton": 1}


KERNEL = """
@triton_heuristics.reduction(triton_meta={{'device': DeviceProperties(type='cuda', index={gpu})}})
@triton.jit
def triton_red_{number}(in_ptr0, out_ptr0, xnumel, XBLOCK : tl.constexpr):
    pass
"""
MODULE = """
triton_red_1 = async_compile.triton('triton_red_1', '''{kernel_1}''', device_str='cuda')
triton_red_2 = async_compile.triton('triton_red_2', '''{kernel_2}''', device_str='cuda')
async_compile.wait(globals())

def call(args):
    with torch.cuda._DeviceGuard({gpu}):
        pass
"""
CACHE = f"torch_aot_compile/{'ab' * 32}/inductor_cache"
WON = b'{"XBLOCK": 64, "num_warps": 16, "num_stages": 1, "configs_hash": "6ffa"}'


def module_for(gpu: int) -> tuple[str, str]:
    """A generated module, and where the setting that won for its first kernel lies: the other had but one."""
    kernels = [KERNEL.format(gpu=gpu, number=number) for number in (1, 2)]
    names = names_of_source(kernels[0])
    return (
        MODULE.format(gpu=gpu, kernel_1=kernels[0], kernel_2=kernels[1]),
        f"{CACHE}/{names.file[1:3]}/{names.tuned}",
    )


def tuned_by(node: Client, root: Path, gpu: int, monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Have a node start a model whose first kernel is tuned there, and end its start."""
    source, won = module_for(gpu)
    module = root / CACHE / "zz" / "czz.py"
    for path, data in ((module, source.encode()), (root / won, WON)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / CACHE / "zz" / f"{'0' * 64}.best_config").write_bytes(b"of another rank or model")
    monkeypatch.setattr(kernels, "generated_modules", lambda: [str(module), "/elsewhere/xx/cxx.py"])
    counts = Counts(node)
    level = TritonLevel(counts)
    level.expect(start_of(node, root=str(root), gpu=gpu))
    level.offer()
    assert node.publisher.drain(30)
    return counts


def settled(node: Client, root: Path, gpu: int) -> Counts:
    """Have a node restore that model, up to where vLLM would load it."""
    counts = Counts(node)
    level = TritonLevel(counts)
    start = start_of(node, root=str(root), gpu=gpu)
    level.expect(start)
    start.here("model", pickle.dumps(module_for(0)[0]))
    level.settle(start)
    level.offer()
    return counts


def files_below(root: Path) -> dict[str, bytes]:
    found = (path for path in root.glob("**/*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize(("there", "here"), [(0, 0), (0, 1), (1, 0), (2, 3)])
def test_what_won_elsewhere_lies_there_before_the_model_is_loaded(
    place: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int, here: int
) -> None:
    with client(tmp_path / "first", **place) as first:
        assert tuned_by(first, tmp_path / "made", there, monkeypatch).offered == {"triton": 1}
    with client(tmp_path / "second", **place) as second:
        assert settled(second, tmp_path / "moved", here).missed == {}
    assert files_below(tmp_path / "moved") == {module_for(here)[1]: WON}


def test_what_won_here_before_stays(
    place: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(tmp_path / "first", **place) as first:
        tuned_by(first, tmp_path / "made", 0, monkeypatch)
    own = tmp_path / "moved" / module_for(0)[1]
    own.parent.mkdir(parents=True)
    own.write_bytes(b'{"XBLOCK": 128}')
    with client(tmp_path / "second", **place) as second:
        settled(second, tmp_path / "moved", 0)
    assert own.read_bytes() == b'{"XBLOCK": 128}'


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (f"{CACHE}/ab/{'a' * 64}.best_config", b"[]"),
        (f"{CACHE}/ab/{'a' * 64}.best_config", b"\xff no JSON"),
        (f"{CACHE}/ab/{'a' * 64}.best_config", b'{"a": "' + b"a" * (64 << 10) + b'"}'),
        (f"{CACHE}/ab/{'a' * 64}.py", b"{}"),
        (f"torch_aot_compile/{'ab' * 32}/rank_0_0/model", b"{}"),
        (f"another/inductor_cache/ab/{'a' * 64}.best_config", b"{}"),
    ],
)
def test_what_is_no_setting_is_not_written(
    place: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, data: bytes
) -> None:
    with client(tmp_path / "first", **place) as first:
        cache = ForeignCache(client=first, scheme="vllm", backend="vllm_triton", target=TARGET)
        assert cache.offer("hash/rank_0_0", {"used.json": b"[]", f"tuned/{name}": data})
        assert first.publisher.drain(30)
        settled(first, tmp_path / "moved", 0)
    assert files_below(tmp_path / "moved") == {}
    assert "isn't what autotuning chose for a kernel" in caplog.text


def test_torch_finds_what_was_written(tmp_path: Path) -> None:
    """By torch's own reader, beside the source of the kernel."""
    from torch._inductor.runtime.autotune_cache import AutotuneCache

    source = KERNEL.format(gpu=0, number=1)
    names = names_of_source(source)
    write_settings({module_for(0)[1]: WON}, str(tmp_path), {})
    path = tmp_path / CACHE / names.file[1:3] / f"{names.file}.py"
    cache = AutotuneCache.create({"autotune_local_cache": True}, str(path), "6ffa")
    assert cache is not None
    assert cache._read() == json.loads(WON)
