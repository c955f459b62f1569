"""One compile a model over a fleet: vLLM's processes that start at once, under the policy `wait`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from client_samples import client
from inductory_client.contract.errors import NotFound
from inductory_client.contract.lease import LEASE_S_MAX, Heartbeat, LeasesWanted
from inductory_client.transport import HttpStore
from vllm_node import Node, Started, need_vllm

FLEET = "vllm-single-flight"


@pytest.fixture(scope="module")
def environ(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of nodes that sign with one key, and trust it."""
    need_vllm()
    folder = tmp_path_factory.mktemp("keys")
    with client(folder) as keys:
        keys.signing_key()
    return {
        "INDUCTORY_URL": store_url,
        "INDUCTORY_CONFIG_DIR": str(folder / "config"),
        "INDUCTORY_VLLM": "model",
        "INDUCTORY_ON_MISS": "wait",
    }


@pytest.fixture(scope="module")
def fleet(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[Started]:
    """Nodes that began together, with nothing published before; the one that compiled comes first."""
    folder = tmp_path_factory.mktemp("fleet")
    nodes = [Node(folder / name, environ | {"INDUCTORY_NAMESPACE": FLEET}) for name in ("one", "two")]
    with ThreadPoolExecutor(len(nodes)) as pool:
        return sorted(pool.map(Node.start, nodes), key=lambda each: -each.compiled)


@pytest.fixture(scope="module")
def key(fleet: list[Started], store_url: str) -> str:
    """What the model is published as."""
    store = HttpStore(store_url, FLEET)
    (entry,) = store.lookup({"scheme": "vllm", "backend": "vllm_aot"}).entries
    store.close()
    return entry.artifact


def test_one_compiles_and_the_other_waits_and_loads(fleet: list[Started]) -> None:
    compiled, waited = fleet
    assert (compiled.compiled, compiled.offered, compiled.served) == (1, {"model": 1}, {})
    assert (waited.compiled, waited.loaded) == (0, 1)
    assert (waited.served, waited.missed, waited.offered) == ({"model": 1}, {}, {})
    assert waited.sums == compiled.sums
    assert "waiting for 1 model " in waited.log
    assert "for another process that compiled it" in waited.line
    assert "another process" not in compiled.line


def test_who_has_waited_long_enough_compiles_and_leaves_the_key_to_its_holder(
    fleet: list[Started], key: str, environ: dict[str, str], store_url: str, tmp_path: Path
) -> None:
    apart = environ | {"INDUCTORY_NAMESPACE": "vllm-impatient", "INDUCTORY_WAIT_DEADLINE_S": "0.5"}
    with client(tmp_path / "holder", url=store_url, namespace="vllm-impatient") as holder:
        holder.leases.take([key])
        started = Node(tmp_path / "node", apart).start()
        assert (started.compiled, started.sums) == (1, fleet[0].sums)
        assert "compiling 1 model here, too" in started.log
        store = HttpStore(store_url, "vllm-impatient")
        with pytest.raises(NotFound):
            store.get_artifact(key)
        store.close()


def test_a_holder_that_died_is_not_waited_for_longer_than_its_lease(
    fleet: list[Started], key: str, environ: dict[str, str], store_url: str, tmp_path: Path
) -> None:
    apart = environ | {"INDUCTORY_NAMESPACE": "vllm-died"}
    store = HttpStore(store_url, "vllm-died")
    (lease,) = store.take_leases(LeasesWanted(holder="dies", keys=(key,), seconds=LEASE_S_MAX)).granted
    with Node(tmp_path / "node", apart).started() as node:
        assert node.stderr is not None
        assert any("waiting for 1 model " in line for line in node.stderr)
        store.renew_leases(Heartbeat(leases=(lease,), seconds=1.0))  # its last sign of life
        out, log = node.communicate(timeout=300)
    assert node.returncode == 0, log
    assert f'"sums": {fleet[0].sums}' in out
    assert "for another process that compiled it" in out
    assert store.get_artifact(key).key == key, "it had the turn next, and published"
    store.close()


def test_of_engines_with_two_ranks_one_compiles_both(
    environ: dict[str, str], fleet: list[Started], tmp_path: Path
) -> None:
    apart = environ | {"INDUCTORY_NAMESPACE": "vllm-ranks"}
    nodes = [Node(tmp_path / name, apart) for name in ("one", "two")]
    with ThreadPoolExecutor(len(nodes)) as pool:
        engines = list(pool.map(lambda node: node.start_ranks(2), nodes))
    compiled, waited = sorted(engines, key=lambda ranks: -ranks[0].compiled)
    assert [(rank.compiled, rank.offered) for rank in compiled] == [(1, {"model": 1})] * 2
    assert [(rank.compiled, rank.loaded, rank.served) for rank in waited] == [(0, 1, {"model": 1})] * 2
    assert {tuple(rank.sums) for rank in (*compiled, *waited)} == {tuple(2 * each for each in fleet[0].sums)}
