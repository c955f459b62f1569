"""generate() on a tiny real model: prefill and decode are graphs, and a warm start compiles none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from inductory_client.contract.wire import Manifest
from inductory_client.transport import HttpStore
from torch_generation import STEPS
from torch_known import decodes
from torch_machine import Machine, Ran

pytestmark = decodes

CACHES = ["dynamic_cache", "static_cache"]


@pytest.fixture(scope="module")
def builder(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("builder"), store_url)


@pytest.fixture(scope="module")
def cold(builder: Machine) -> Ran:
    return builder.run("generate", *CACHES, "whole_model")


@pytest.mark.parametrize("cache", CACHES)
def test_a_cold_start_generates_what_eager_does(cold: Ran, cache: str) -> None:
    result = cold.results[cache]
    assert len(result["tokens"]) == STEPS
    assert result["tokens"] == result["eager"]
    assert len(set(result["tokens"])) > 2, "not one token for ever"


def test_prefill_and_decode_are_compiled(cold: Ran) -> None:
    assert set(cold.outcomes) == {"compiled"}, cold.reasons
    assert len(cold.outcomes) == 5, "three with a growing cache, two with a static one"
    assert len(set(cold.manifests)) == 5
    assert len(cold.builds) == 1, "and one build"


def test_compiling_the_whole_model_compiles_nothing_for_generate(cold: Ran) -> None:
    """torch.compile(model).generate() is the original's: the last of the three runs added no graph."""
    result = cold.results["whole_model"]
    assert result["tokens"] == result["eager"]
    assert len(cold.outcomes) == 5


def test_a_warm_start_compiles_nothing_and_generates_the_same(
    cold: Ran, builder: Machine, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, builder.url, (builder.public_key,))
    warm = machine.run("generate", *CACHES, compiler=False)
    assert set(warm.outcomes) == {"loaded"}, warm.reasons
    assert warm.keys == cold.keys
    assert machine.compiled_nothing(warm), warm.counters
    for cache in CACHES:
        assert warm.results[cache] == cold.results[cache]


def test_the_build_holds_every_graph_to_read(cold: Ran, builder: Machine) -> None:
    store = HttpStore(builder.url, "default")
    try:
        build = store.get_build(cold.builds[0])
        assert [entry.manifest for entry in build.entries] == cold.manifests
        manifests: list[Manifest] = [store.get_manifest(entry.manifest) for entry in build.entries]
    finally:
        store.close()
    for manifest, keys in zip(manifests, cold.keys, strict=True):
        assert {entry.artifact for entry in manifest.entries} == set(keys)
        assert {d.name for d in manifest.documents} == {"computation_graph.py", "transformed_code.py"}
