"""A store whose bytes are damaged, or that is gone: models start all the same, and are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from misbehaving import Misbehaving, refused, silent
from store_process import StoreProcess
from torch_sessions import Compiled, Node, compile_case, three_pieces


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return compile_case(three_pieces())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    with StoreProcess(tmp_path_factory.mktemp("load") / "store") as store:
        yield store


@pytest.fixture(scope="module")
def builder(store: StoreProcess, compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Node:
    node = Node(tmp_path_factory.mktemp("builder"), store.url)
    node.publish(*compiled.drafts)
    return node


@pytest.fixture
def node(builder: Node, tmp_path: Path) -> Node:
    """An empty machine that trusts the builder."""
    trusted = [builder.folder / "config" / "key.pub"]
    return Node(tmp_path, builder.url, {"trusted_keys": trusted, "store_deadline_s": 60.0})


def test_a_whole_store_serves_all(node: Node) -> None:
    report, warnings = node.start(three_pieces())
    assert (report.outcome, report.hits, report.compiled, warnings) == ("loaded", 3, 0, [])
    assert report.bytes_moved > 0


def test_who_does_not_trust_the_builder_compiles(node: Node) -> None:
    report, warnings = replace(node, options={"publish": False}).start(three_pieces())
    assert (report.outcome, report.hits, report.compiled) == ("compiled", 0, 3)
    assert len(warnings) == 1
    assert "isn't trusted here" in warnings[0]


DAMAGE: dict[str, Callable[[bytes, bytes], bytes]] = {
    "truncated": lambda packed, other: packed[: len(packed) // 2],
    "empty": lambda packed, other: b"",
    "bit-flipped": lambda packed, other: packed[:200] + bytes([packed[200] ^ 1]) + packed[201:],
    "swapped": lambda packed, other: other,
    "a bomb": lambda packed, other: pack(bytes(64 << 20)),
}


@pytest.mark.parametrize("place", [0, 1], ids=["payload", "native"])
@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_bytes_in_the_store_are_compiled_anew(
    node: Node, builder: Node, compiled: Compiled, name: str, place: int, tmp_path: Path
) -> None:
    """And once they were published again, the store serves them again."""
    with StoreProcess(tmp_path / "damaged-store") as store:  # one that has nothing of it in memory
        node, builder = replace(node, url=store.url), replace(builder, url=store.url)
        builder.publish(*compiled.drafts)

        def path_of(data: bytes) -> Path:
            digest = digest_of(data)
            return store.data_dir / "cas" / "sha256" / digest[:2] / f"{digest}.zst"

        path, other = (path_of(compiled.drafts[which].blobs[place].data) for which in (1, 0))
        path.write_bytes(DAMAGE[name](path.read_bytes(), other.read_bytes()))
        report, warnings = replace(node, options={**node.options, "publish": False}).start(three_pieces())
        assert (report.outcome, report.hits, report.compiled) == ("compiled", 2, 1), report.reason
        assert len(warnings) <= 1
        builder.publish(*compiled.drafts)
        assert replace(node, folder=node.folder / "another").start(three_pieces())[0].outcome == "loaded"


def test_a_store_that_is_gone_costs_a_compile(node: Node) -> None:
    with refused() as url:
        report, warnings = replace(node, url=url).start(three_pieces())
    assert (report.outcome, report.compiled) == ("compiled", 3)
    assert any("store isn't used" in warning for warning in warnings)


def test_a_store_that_never_answers_costs_the_deadline_and_a_compile(node: Node) -> None:
    """The whole of the start waits once for it: `store_deadline_s`, here a tenth of a second."""
    options = {**node.options, "store_deadline_s": 0.1, "drain_s": 0.0}
    with Misbehaving(silent) as server:
        report, warnings = Node(node.folder, server.url, options).start(three_pieces())
    assert (report.outcome, report.compiled) == ("compiled", 3)
    assert len(warnings) == 1


def test_a_warm_start_with_the_store_gone_loads_from_this_machine(node: Node) -> None:
    assert node.start(three_pieces())[0].outcome == "loaded"
    with refused() as url:
        report, warnings = replace(node, url=url).start(three_pieces())
    assert (report.outcome, report.hits, report.bytes_moved, warnings) == ("loaded", 3, 0, [])


def test_what_was_compiled_without_the_store_is_loaded_without_it(node: Node) -> None:
    with refused() as url:
        alone = replace(node, url=url)
        assert alone.start(three_pieces())[0].outcome == "compiled"
        assert alone.start(three_pieces())[0].outcome == "loaded"
