"""The model level with a real store, around a load that stands in for vLLM's."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from client_samples import FakeClock, client
from inductory_client.client import Client
from inductory_client.contract.digest import digest_of
from inductory_client.contract.lease import KeysAwaited
from inductory_client.contract.target import Target
from inductory_client.foreign import Files, ForeignCache
from inductory_client.integrations.vllm.counts import Counts
from inductory_client.integrations.vllm.factors import kin_of, options_of, target_of
from inductory_client.integrations.vllm.model import BACKEND, SCHEME, ModelLevel
from inductory_client.leasing import HELD_S_MAX
from inductory_client.trouble import forget_warnings
from torch._inductor.codecache import PyCodeCache

PUBLISHED = {"model/0000": b"first half, ", "model/0001": b"second half"}
KEY = "0" * 64 + "/rank_0_0"
PARTS = "pieces/backbone/vllm_compile_cache.py"
PARTS_LIST = b"""{((1, 8), 0, 'inductor_standalone'):
    {'graph_handle': ('piece', './piece'), 'cache_key': 'key'}}"""


class Tiny:
    """A model as far as it is asked of anything."""

    vllm_config = SimpleNamespace(
        model_config=None,
        scheduler_config=SimpleNamespace(max_num_batched_tokens=8),
        device_config=SimpleNamespace(device="cpu"),
        parallel_config=SimpleNamespace(
            data_parallel_size=1,
            world_size=1,
            pipeline_parallel_size=1,
            distributed_executor_backend="uni",
            nnodes=1,
        ),
    )

    def save_aot_compiled_function(self) -> None: ...


@dataclass(frozen=True)
class Start:
    loaded: bytes | None
    """What vLLM found where it looks; None where it has to compile."""
    counts: Counts
    listed: list[str]
    """Files that were beside the parts list when vLLM began to compile."""


@dataclass(frozen=True)
class Fleet:
    """A builder and nodes, with one store and one key."""

    folder: Path
    url: str
    namespace: str

    def client(self, name: str) -> Client:
        config = self.folder / "config"
        return client(self.folder / name, url=self.url, namespace=self.namespace, config_dir=config)

    def publish(
        self, files: Files, key: str = KEY, *, more: Mapping[str, str] | None = None, **factors: str
    ) -> None:
        target = Target(target_of(Tiny.vllm_config).factors | factors)
        with self.client("builder") as builder:
            cache = ForeignCache(client=builder, scheme=SCHEME, backend=BACKEND, target=target)
            kin = kin_of(Tiny.vllm_config, Tiny.__qualname__)
            options = options_of(Tiny.vllm_config) | (more or {})
            assert cache.offer(key, files, kin=kin, options=options)
            assert builder.publisher.drain(30)

    def start(self, key: str = KEY, runs: str = "") -> Start:
        """Have a node load its model, in which generated code `runs`, or else compile it."""
        compiled = self.folder / "compiled"
        path = self.aot_file(key)

        def load(model: Any, path: str) -> bytes | None:
            if runs:
                PyCodeCache.load(runs)
            return Path(path).read_bytes() if Path(path).exists() else None

        with self.client("node") as node:
            counts = Counts(node)
            level = ModelLevel(node, counts, lambda: True)
            loaded = level.around_load(load)(Tiny(), str(path))
            if loaded is None:  # vLLM compiles, and looks for a parts list
                compiled.mkdir(parents=True)
                level.around_initialize_cache(lambda *_: None)(
                    SimpleNamespace(), str(compiled), False, "backbone"
                )
        return Start(loaded, counts, sorted(each.name for each in compiled.glob("*")))

    def aot_file(self, key: str = KEY) -> Path:
        """Where vLLM looks for a model."""
        return self.folder / "node" / "torch_compile_cache" / "torch_aot_compile" / key / "model"


@pytest.fixture
def fleet(
    tmp_path: Path, store_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Fleet:
    forget_warnings()
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__="0.32.0"))
    monkeypatch.setitem(sys.modules, "vllm.envs", SimpleNamespace(compile_factors=dict))
    return Fleet(tmp_path, store_url, "models-" + digest_of(request.node.name.encode())[:12])


def check_it_is_missed(start: Start, reason: str) -> None:
    assert start.loaded is None
    assert (start.counts.served, start.counts.missed) == ({}, {"model": 1})
    assert reason in start.counts.line()


def test_a_model_of_the_same_target_is_put_where_vllm_looks(fleet: Fleet) -> None:
    fleet.publish(PUBLISHED)
    start = fleet.start()
    assert start.loaded == b"first half, second half"
    assert (start.counts.served, start.counts.missed, start.counts.reasons) == ({"model": 1}, {}, [])


@pytest.mark.parametrize(
    ("factor", "value"),
    [
        ("cuda.device", "NVIDIA H100 80GB HBM3"),
        ("cpu.capability", "that of a newer CPU"),
        ("torch.version", "2.99.0"),
        ("torch.key", "of patched sources"),
        ("triton.ptxas", "13.9"),
        ("vllm.version", "0.99.0"),
    ],
)
def test_a_model_of_another_target_is_a_miss_that_names_the_factor(
    fleet: Fleet, factor: str, value: str
) -> None:
    fleet.publish(PUBLISHED, **{factor: value})
    start = fleet.start()
    ours = target_of(Tiny.vllm_config).factors.get(factor, "absent")
    check_it_is_missed(start, f"the nearest differs in {factor}: {ours} here, {value} there)")


def test_an_environment_that_vllm_hashes_is_named(fleet: Fleet) -> None:
    fleet.publish(PUBLISHED, KEY.replace("0" * 64, "1" * 64), more={"vllm.env.VLLM_USE_V2": "1"})
    told = "the nearest differs in vllm.env.VLLM_USE_V2: absent here, 1 there)"
    check_it_is_missed(fleet.start(), told)


def test_a_start_is_told_in_one_line_whatever_a_variable_holds(fleet: Fleet) -> None:
    fleet.publish(
        PUBLISHED, KEY.replace("0" * 64, "1" * 64), more={"vllm.env.VLLM_USE_V2": "several\n" * 400}
    )
    line = fleet.start().counts.line()
    assert "vllm.env.VLLM_USE_V2: absent here, several several" in line
    assert "\n" not in line
    assert len(line) < 500


def test_another_rank_is_not_given_what_the_first_published(fleet: Fleet) -> None:
    fleet.publish(PUBLISHED)
    check_it_is_missed(fleet.start(KEY.replace("rank_0_0", "rank_1_0")), "nobody has published it)")


def test_a_data_parallel_rank_that_is_an_engine_of_its_own_is_given_what_another_published(
    fleet: Fleet,
) -> None:
    fleet.publish(PUBLISHED)
    start = fleet.start(KEY.replace("rank_0_0", "rank_0_3"))
    assert (start.loaded, start.counts.served) == (b"first half, second half", {"model": 1})


def test_a_data_parallel_rank_that_works_with_others_is_not(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.publish(PUBLISHED)
    monkeypatch.setattr(Tiny.vllm_config.parallel_config, "data_parallel_size", 4)
    check_it_is_missed(fleet.start(KEY.replace("rank_0_0", "rank_0_3")), "nobody has published it)")


@pytest.mark.parametrize(("gpu", "served"), [(0, True), (1, False)])
def test_code_that_runs_on_another_gpu_is_not_run(
    fleet: Fleet, gpu: int, served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PyCodeCache, "modules", [])
    fleet.publish(PUBLISHED)
    runs = f"def call():\n    with torch.cuda._DeviceGuard({gpu}):\n        pass\n"
    start = fleet.start(runs=runs)
    if served:
        assert start.counts.served == {"model": 1}
    else:
        check_it_is_missed(start, "what the store had is for GPU 1")
        assert not fleet.aot_file().exists(), "the next start takes what lies there as it is"


def test_where_it_is_not_known_on_which_gpu_code_runs_it_is_compiled(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PyCodeCache, "modules", [SimpleNamespace(__file__="/not/there.py")])
    fleet.publish(PUBLISHED)
    check_it_is_missed(fleet.start(), "which GPU a model is for isn't known")


@pytest.mark.parametrize("lacking", ["model/0000", "model/0001"])
def test_a_model_that_lacks_a_segment_is_a_miss(fleet: Fleet, lacking: str) -> None:
    whole = {"model/0000": b"1", "model/0001": b"2", "model/0002": b"3"}
    fleet.publish({name: data for name, data in whole.items() if name != lacking})
    check_it_is_missed(fleet.start(), "the entry has no whole AOT file")


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ({PARTS: PARTS_LIST}, "the entry lacks pieces of the model"),
        ({"pieces/backbone/piece": b"code"}, "the entry lacks pieces of the model"),
        ({"pieces/backbone/piece": b"code", PARTS: b"import os"}, "a model isn't restored: the parts list"),
    ],
    ids=["no piece", "no list", "no parts list"],
)
def test_a_model_with_parts_that_are_not_whole_is_a_miss(fleet: Fleet, pieces: Files, reason: str) -> None:
    fleet.publish(PUBLISHED | pieces)
    check_it_is_missed(fleet.start(), reason)


def test_a_model_that_can_not_be_written_leaves_no_parts_to_compile_with(fleet: Fleet) -> None:
    fleet.publish(PUBLISHED | {"pieces/backbone/piece": b"code", PARTS: PARTS_LIST})
    fleet.aot_file().parent.parent.mkdir(parents=True)
    fleet.aot_file().parent.write_text("in the way")
    start = fleet.start()
    check_it_is_missed(start, "a model isn't restored")
    assert start.listed == []


def test_a_model_with_its_parts_is_whole(fleet: Fleet) -> None:
    fleet.publish(PUBLISHED | {"pieces/backbone/piece": b"code", PARTS: PARTS_LIST})
    assert fleet.start().loaded == b"first half, second half"


def held(fleet: Fleet) -> bool:
    """Whether somebody has the turn to compile the model."""
    with fleet.client("asks") as asking:
        key = ForeignCache(
            client=asking, scheme=SCHEME, backend=BACKEND, target=target_of(Tiny.vllm_config)
        ).artifact_key(KEY)
        return bool(asking.reach_store().await_keys(KeysAwaited(keys=(key,), wait_s=0)).held)


def test_a_model_that_is_compiled_and_not_published_is_not_held_for_good(fleet: Fleet) -> None:
    with fleet.client("node") as node:
        level = ModelLevel(node, Counts(node), lambda: True)
        level.around_load(lambda model, path: None)(Tiny(), str(fleet.aot_file()))
        assert held(fleet), "it is being compiled"
        level.turns.end()
        assert not held(fleet)


def test_a_model_that_can_not_be_made_ready_to_travel_is_not_held_for_good(fleet: Fleet) -> None:
    with fleet.client("node") as node:
        level, model = ModelLevel(node, Counts(node), lambda: True), Tiny()
        level.around_load(lambda model, path: None)(model, str(fleet.aot_file()))
        model.save_aot_compiled_function()  # which writes no file, here
        level.turns.end()
        assert node.publisher.drain(30)
        assert not held(fleet)


def test_a_model_whose_compile_failed_unseen_is_not_held_for_good(fleet: Fleet) -> None:
    clock = FakeClock()
    with client(
        fleet.folder / "node", url=fleet.url, namespace=fleet.namespace, lease_s=1.0, config_dir=fleet.folder
    ) as node:
        node.leases._clock = clock
        level = ModelLevel(node, Counts(node), lambda: True)
        level.around_load(lambda model, path: None)(Tiny(), str(fleet.aot_file()))
        assert held(fleet)
        clock.pass_by(HELD_S_MAX + 1)
        while held(fleet):  # it isn't renewed any more
            pass
        assert not node.leases.any


def test_what_is_first_run_by_a_request_takes_no_turns(fleet: Fleet) -> None:
    with fleet.client("node") as node:
        level = ModelLevel(node, Counts(node), lambda: True)
        level.turns.end()
        level.around_load(lambda model, path: None)(Tiny(), str(fleet.aot_file()))
        assert not node.leases.any


@pytest.mark.parametrize("ranks", [{"world_size": 2}, {"data_parallel_size": 2}])
def test_a_model_whose_ranks_share_no_name_takes_no_turns(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, ranks: dict[str, int]
) -> None:
    for name, value in ranks.items():
        monkeypatch.setattr(Tiny.vllm_config.parallel_config, name, value)
    with fleet.client("node") as node:
        level = ModelLevel(node, Counts(node), lambda: True)
        level.around_load(lambda model, path: None)(Tiny(), str(fleet.aot_file()))
        assert not node.leases.any
