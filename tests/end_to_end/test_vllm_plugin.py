"""vLLM's own compilation, with pieces from the store: what the engine counts, on one node after the other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from inductory_client.cli.main import main
from misbehaving import Handler, Misbehaving, always, answer, refused, silent
from vllm_node import FORMS, Node, Started, need_vllm


@pytest.fixture(scope="module", params=["mega"])
def form(request: pytest.FixtureRequest) -> str:
    """The form of newer versions; tests that differ by form take both."""
    need_vllm()
    return str(request.param)


both_forms = pytest.mark.parametrize("form", FORMS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def environ(form: str, store_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "INDUCTORY_URL": store_url,
        "INDUCTORY_NAMESPACE": f"vllm-{form}",
        "INDUCTORY_CONFIG_DIR": str(tmp_path_factory.mktemp("config")),
        "VLLM_USE_MEGA_AOT_ARTIFACT": FORMS[form],
    }


@pytest.fixture(scope="module")
def cold(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Started:
    """The first node, which compiles and publishes."""
    return Node(tmp_path_factory.mktemp("cold"), environ).start()


@pytest.fixture
def node(cold: Started, environ: dict[str, str], tmp_path: Path) -> Iterator[Node]:
    """A fresh node, started after the first."""
    node = Node(tmp_path / "node", environ)
    yield node
    shutil.rmtree(tmp_path / "node", ignore_errors=True)


@both_forms
def test_the_first_node_compiles_and_publishes(cold: Started) -> None:
    assert (cold.loaded, cold.compiled) == (0, 1)
    assert (cold.served, cold.offered["model"]) == ({}, 1)
    assert cold.missed["model"] == 1


@both_forms
def test_a_fresh_node_loads_and_compiles_nothing(cold: Started, node: Node) -> None:
    fresh = node.start()
    assert (fresh.loaded, fresh.compiled) == (1, 0)
    assert fresh.counters.get("num_compiled_artifacts_saved", 0) == 0
    assert fresh.counters.get("num_inductor_compiles", 0) == 0, "no submodule was given to the compiler"
    assert fresh.sums == cold.sums
    assert (fresh.served, fresh.missed, fresh.offered) == ({"model": 1}, {}, {})
    assert 0 < fresh.bytes_moved < 150_000
    again = node.start()
    assert (again.loaded, again.compiled, again.sums) == (1, 0, cold.sums)
    assert (again.served, again.missed) == ({}, {}), "what vLLM has isn't asked for"


@both_forms
def test_pieces_are_found_where_the_model_is_not(cold: Started, node: Node) -> None:
    # Here each is compiled by a C++ compiler when it is loaded, which takes longer: no wait for the store.
    fresh = node.start(INDUCTORY_VLLM="submodule", INDUCTORY_STORE_DEADLINE_S="5")
    assert fresh.sums == cold.sums
    assert (fresh.served, fresh.offered) == ({"submodule": 3}, {})


def test_off_is_stock(cold: Started, node: Node) -> None:
    fresh = node.start(INDUCTORY_VLLM="off")
    assert (fresh.compiled, fresh.sums, fresh.line) == (1, cold.sums, "")


@both_forms
def test_where_vllm_caches_nothing_it_is_left_alone(cold: Started, node: Node) -> None:
    fresh = node.start(VLLM_DISABLE_COMPILE_CACHE="1")
    assert fresh.sums == cold.sums
    assert (fresh.served, fresh.offered) == ({}, {})


def test_without_trust_it_compiles_and_says_why(cold: Started, node: Node, tmp_path: Path) -> None:
    fresh = node.start(INDUCTORY_CONFIG_DIR=str(tmp_path / "stranger"))
    assert (fresh.compiled, fresh.sums) == (1, cold.sums)
    assert fresh.served == {}
    assert "refused" in fresh.line


def test_an_environment_that_vllm_hashes_is_a_miss_that_names_it(
    cold: Started, node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = node.start(VLLM_USE_BYTECODE_HOOK="0", INDUCTORY_VLLM="model")
    assert (fresh.compiled, fresh.sums) == (1, cold.sums)
    assert "nobody has published it; the nearest differs in vllm.env.VLLM_USE_BYTECODE_HOOK" in fresh.line
    options = [
        f"--url={node.environ['INDUCTORY_URL']}",
        f"--namespace={node.environ['INDUCTORY_NAMESPACE']}",
        f"--config-dir={node.environ['INDUCTORY_CONFIG_DIR']}",
        f"--cache-dir={node.cache_dir}",
    ]
    assert main(["explain", "--json", *options]) == 0
    (missed,) = json.loads(capsys.readouterr().out)["misses"]
    digest, named = missed["differences"]
    assert (digest["name"], named["name"]) == ("scheme_key", "vllm.env.VLLM_USE_BYTECODE_HOOK")
    assert "vLLM hashes this variable" in named["advice"]
    assert (named["ours"], named["theirs"], named["volatile"]) == (None, "True", True)


def test_a_store_that_refuses(cold: Started, node: Node) -> None:
    with refused() as url:
        check_it_starts_without(url, cold, node)


@pytest.mark.parametrize("handler", [silent, always(answer(b'{"artifacts": "none"}'))], ids=["hangs", "lies"])
def test_a_store_that_hangs_or_lies(cold: Started, node: Node, handler: Handler) -> None:
    with Misbehaving(handler) as server:
        check_it_starts_without(server.url, cold, node)


def check_it_starts_without(url: str, cold: Started, node: Node) -> None:
    fresh = node.start(INDUCTORY_URL=url, INDUCTORY_STORE_DEADLINE_S="0.5", INDUCTORY_DRAIN_S="1")
    assert (fresh.compiled, fresh.sums, fresh.served) == (1, cold.sums, {})
    assert fresh.missed["model"] == 1


def test_two_engines_at_once_on_one_node(cold: Started, node: Node) -> None:
    processes = [node.started() for _ in range(2)]
    outs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outs[0][1] + outs[1][1]
    assert [f'"sums": {cold.sums}' in out for out, _ in outs] == [True, True]


def test_a_kill_while_it_publishes_leaves_nothing_half(
    environ: dict[str, str], cold: Started, tmp_path: Path
) -> None:
    namespace = environ["INDUCTORY_NAMESPACE"] + "-killed"
    # The second ends too soon to see the end of a longer lease of the first.
    apart = environ | {"INDUCTORY_NAMESPACE": namespace, "INDUCTORY_LEASE_S": "1"}
    first = Node(tmp_path / "first", apart).started()
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("RESULT"):
            break
    first.kill()
    first.communicate()
    second = Node(tmp_path / "second", apart).start()
    assert second.sums == cold.sums
    third = Node(tmp_path / "third", apart).start()
    assert (third.compiled, third.sums) == (0, cold.sums)


def test_a_cache_that_cannot_be_used_is_done_without(cold: Started, node: Node) -> None:
    node.folder.mkdir()
    node.cache_dir.write_text("a file where a folder should be")
    fresh = node.start()
    assert (fresh.loaded, fresh.compiled, fresh.sums) == (1, 0, cold.sums)
    assert (fresh.served, fresh.missed) == ({"model": 1}, {})
    assert f"the cache {node.cache_dir}/" in fresh.log
