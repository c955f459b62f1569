"""One compile a key over a fleet: processes that start at once, under the policy `wait`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from client_samples import client
from inductory_client.contract.errors import NotFound
from inductory_client.transport import HttpStore
from torch_machine import Machine, Ran

PROCESSES = 3


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key that all these machines sign with, and trust."""
    folder = tmp_path_factory.mktemp("keys")
    with client(folder) as keys:
        keys.signing_key()
    return folder / "config"


def machine(folder: Path, url: str, config: Path, namespace: str, **environ: str) -> Machine:
    mine = {"INDUCTORY_NAMESPACE": namespace, "INDUCTORY_ON_MISS": "wait"}
    return Machine(folder, url, environ=mine | {"INDUCTORY_CONFIG_DIR": str(config)} | environ)


@pytest.fixture(scope="module")
def fleet(store_url: str, config: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Ran]:
    """The answers of processes that began together, with nothing published before."""
    folder = tmp_path_factory.mktemp("fleet")
    machines = [machine(folder / str(at), store_url, config, "single-flight") for at in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        return list(pool.map(lambda each: each.run("case", "layers"), machines))


def test_each_piece_is_compiled_once(fleet: list[Ran]) -> None:
    assert all(ran.results["layers"]["close"] for ran in fleet)
    assert len({ran.results["layers"]["fingerprint"] for ran in fleet}) == 1
    assert sum(ran.compiled for ran in fleet) == 3, [ran.compiled for ran in fleet]
    assert {outcome for ran in fleet for outcome in ran.outcomes} <= {"compiled", "loaded"}


def test_one_that_has_waited_long_enough_compiles_and_leaves_the_key_to_its_holder(
    fleet: list[Ran], store_url: str, config: Path, tmp_path: Path
) -> None:
    keys = fleet[0].keys[0]
    with client(tmp_path / "holder", url=store_url, namespace="impatient") as holder:
        holder.leases.take(keys[:1])
        ran = machine(
            tmp_path / "impatient", store_url, config, "impatient", INDUCTORY_WAIT_DEADLINE_S="0.5"
        ).run("case", "layers")
        assert ran.results == fleet[0].results
        assert ran.compiled == 3
        assert any("waiting for 1 piece " in warning for warning in ran.warnings)
        assert any("compiling 1 piece here, too" in warning for warning in ran.warnings)
        store = HttpStore(store_url, "impatient")
        with pytest.raises(NotFound):
            store.get_artifact(keys[0])
        assert {store.get_artifact(key).key for key in keys[1:]} == set(keys[1:])
        store.close()


def test_what_failed_elsewhere_is_left_to_stock_inductor(
    fleet: list[Ran], store_url: str, config: Path, tmp_path: Path
) -> None:
    keys = fleet[0].keys[0]
    with client(tmp_path / "holder", url=store_url, namespace="failing") as holder:
        holder.leases.take(keys[:1])
        holder.leases.end(keys[:1], failure="InductorError: no such instruction")
    ran = machine(tmp_path / "next", store_url, config, "failing").run("case", "layers")
    assert ran.results["layers"]["close"]
    assert ran.outcomes == ["stock"]
    assert "no such instruction" in ran.reasons[0]
