"""What vLLM's plugin makes of entries, caches and disks that aren't as they should be: the engine starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client_samples import client
from inductory_client.client import Client
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.manifest import PARTS_LIST
from inductory_client.foreign import ForeignCache
from store_process import StoreProcess
from vllm_entries import ModelEntry, published_model
from vllm_node import AS_ANYBODY, FORMS, Node, Started, need_vllm

AOT_FILE = "model/0000"
Spoil = Callable[..., Node]


@pytest.fixture(scope="module", params=["mega"])
def form(request: pytest.FixtureRequest) -> str:
    """The form of newer versions; tests of pieces in files take the other."""
    need_vllm()
    return str(request.param)


pieces_in_files = pytest.mark.parametrize("form", ["pieces"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def store(form: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """A store of these tests' own: they damage it."""
    with StoreProcess(tmp_path_factory.mktemp("spoilt") / "store") as store:
        yield store


@pytest.fixture(scope="module")
def environ(form: str, store: StoreProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "INDUCTORY_URL": store.url,
        "INDUCTORY_NAMESPACE": "cold",
        "INDUCTORY_CONFIG_DIR": str(tmp_path_factory.mktemp("config")),
        "INDUCTORY_VLLM": "model",
        "VLLM_USE_MEGA_AOT_ARTIFACT": FORMS[form],
    }


@pytest.fixture(scope="module")
def cold(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Started:
    """The first node, which compiles and publishes."""
    return Node(tmp_path_factory.mktemp("cold"), environ).start()


@pytest.fixture(scope="module")
def entry(cold: Started, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    """What the first node published."""
    with trusted(environ, tmp_path_factory.mktemp("reader") / "cache") as reader:
        return published_model(reader)


@pytest.fixture
def node(entry: ModelEntry, environ: dict[str, str], tmp_path: Path) -> Iterator[Node]:
    """A fresh node, started after the first."""
    node = Node(tmp_path / "node", environ)
    yield node
    shutil.rmtree(node.folder, ignore_errors=True)


@pytest.fixture
def spoilt(entry: ModelEntry, node: Node, request: pytest.FixtureRequest, tmp_path: Path) -> Spoil:
    """Publishes the entry with something changed, and gives a fresh node to which nothing else is known."""

    def spoil(files: dict[str, bytes] | None = None, **changes: object) -> Node:
        node.environ = node.environ | {"INDUCTORY_NAMESPACE": digest_of(request.node.name.encode())[:12]}
        with trusted(node.environ, tmp_path / "publisher") as publisher:
            entry.publish(publisher, files, **changes)
        return node

    return spoil


def trusted(environ: dict[str, str], cache_dir: Path) -> Client:
    """A client with the key that all nodes trust."""
    return client(
        cache_dir,
        url=environ["INDUCTORY_URL"],
        namespace=environ["INDUCTORY_NAMESPACE"],
        config_dir=environ["INDUCTORY_CONFIG_DIR"],
        cache_dir=cache_dir,
    )


def check_it_compiles(fresh: Started, cold: Started, reason: str) -> None:
    """The start is as if there were no store, and its one line says why."""
    assert (fresh.loaded, fresh.compiled, fresh.sums) == (0, 1, cold.sums)
    assert (fresh.served, fresh.missed) == ({}, {"model": 1})
    assert reason in fresh.line


def other(data: bytes) -> bytes:
    """The same with one bit changed in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_a_segment_changed_in_the_store_is_not_loaded(
    cold: Started, entry: ModelEntry, spoilt: Spoil, store: StoreProcess
) -> None:
    whole = b"".join(data for name, data in sorted(entry.files.items()) if name.startswith("model/"))
    halves = whole[: len(whole) // 2], whole[len(whole) // 2 :]  # blobs that no other test has
    node = spoilt({f"model/{place:04}": half for place, half in enumerate(halves)})
    digest = digest_of(halves[0])
    path = store.data_dir / "cas" / "sha256" / digest[:2] / f"{digest}.zst"
    assert path.exists()
    path.write_bytes(pack(other(halves[0])))
    check_it_compiles(node.start(), cold, "nobody has published it")


def test_a_segment_changed_in_the_nodes_cache_is_fetched_anew(
    cold: Started, entry: ModelEntry, node: Node
) -> None:
    subject = entry.artifact.subject
    entries = {"scheme": subject.scheme, "backend": subject.backend, "target": subject.target}
    with trusted(node.environ, node.cache_dir) as reader:
        found = ForeignCache(client=reader, **entries).fetch([entry.key])  # type: ignore[arg-type]
        assert found == {entry.key: entry.files}
    data = entry.files[AOT_FILE]
    digest = digest_of(data)
    path = node.cache_dir / "cas" / "sha256" / digest[:2] / digest
    kept = path.read_bytes()
    path.write_bytes(other(data) + kept[len(data) :])
    fresh = node.start()
    assert (fresh.loaded, fresh.compiled, fresh.sums) == (1, 0, cold.sums)
    assert (fresh.served, fresh.missed) == ({"model": 1}, {})
    assert 0 < fresh.bytes_moved < len(pack(data)) + 1000, "one segment alone"
    assert f"blob {digest} in {node.cache_dir} is damaged" in fresh.log
    assert path.read_bytes() == kept


def test_a_signed_model_that_vllm_cannot_load_is_compiled(
    cold: Started, entry: ModelEntry, spoilt: Spoil
) -> None:
    torn = entry.files | {AOT_FILE: entry.files[AOT_FILE][:-100]}
    check_it_compiles(spoilt(torn).start(), cold, "vLLM couldn't load what the store had")


@pieces_in_files
def test_a_model_that_lacks_a_piece_is_compiled(cold: Started, entry: ModelEntry, spoilt: Spoil) -> None:
    without = {name: data for name, data in entry.files.items() if name != first_piece(entry)}
    check_it_compiles(spoilt(without).start(), cold, "the entry lacks pieces of the model")


@pieces_in_files
def test_a_model_with_a_piece_that_cannot_be_loaded_is_compiled(
    cold: Started, entry: ModelEntry, spoilt: Spoil
) -> None:
    torn = entry.files | {first_piece(entry): entry.files[first_piece(entry)][:-100]}
    node = spoilt(torn)
    check_it_compiles(node.start(), cold, "vLLM couldn't load what the store had")
    again = node.start(INDUCTORY_VLLM="off")
    assert (again.loaded, again.compiled, again.sums) == (1, 0, cold.sums), "nothing torn is left"


def first_piece(entry: ModelEntry) -> str:
    return min(name for name in entry.files if name.startswith("pieces/") and PARTS_LIST not in name)


def test_a_model_for_another_vllm_is_a_miss_that_names_the_factor(
    cold: Started, entry: ModelEntry, spoilt: Spoil
) -> None:
    fresh = spoilt(target=entry.another_target(vllm__version="0.0.1")).start()
    check_it_compiles(fresh, cold, "vllm.version")


def test_a_rank_is_not_given_what_another_published(cold: Started, entry: ModelEntry, spoilt: Spoil) -> None:
    assert entry.key.endswith("/rank_0_0")
    fresh = spoilt(scheme_key=entry.key.replace("/rank_0_0", "/rank_1_0")).start()
    check_it_compiles(fresh, cold, "nobody has published it")


def test_a_file_that_vllm_cannot_load_gives_way_to_the_stores(
    cold: Started, entry: ModelEntry, node: Node
) -> None:
    (node.models / entry.key).mkdir(parents=True)
    (node.models / entry.key / "model").write_bytes(b"half of a model")
    fresh = node.start()
    assert (fresh.loaded, fresh.compiled, fresh.sums) == (1, 0, cold.sums)
    assert (fresh.served, fresh.missed) == ({"model": 1}, {})


@pytest.fixture
def guarded(node: Node) -> Node:
    """A node whose process may write only where the rights say so."""
    if os.geteuid() == 0:
        node.wrapper = AS_ANYBODY
    return node


def test_a_model_is_served_to_a_read_only_home(cold: Started, guarded: Node) -> None:
    home = guarded.folder / "home"
    home.mkdir(parents=True)
    home.chmod(0o500)
    fresh = guarded.start(HOME=str(home), XDG_CACHE_HOME="", INDUCTORY_CACHE_DIR="")
    assert (fresh.loaded, fresh.compiled, fresh.sums) == (1, 0, cold.sums)
    assert (fresh.served, fresh.missed) == ({"model": 1}, {})
    assert f"the cache {home}/.cache/inductory" in fresh.log
    assert list(home.iterdir()) == []


def test_a_model_is_compiled_where_it_cannot_be_put(cold: Started, entry: ModelEntry, guarded: Node) -> None:
    rank = guarded.models / entry.key
    rank.mkdir(parents=True)
    rank.chmod(0o500)
    fresh = guarded.start()
    check_it_compiles(fresh, cold, "a model isn't restored")
    assert "Permission denied" in fresh.line
    assert list(rank.iterdir()) == []


def test_a_cache_folder_that_vllm_cannot_write_ends_it_as_in_stock(cold: Started, guarded: Node) -> None:
    guarded.vllm_root.mkdir(parents=True)
    guarded.vllm_root.chmod(0o500)
    ends = []
    for levels in ("off", "model"):
        with guarded.started(INDUCTORY_VLLM=levels) as process:
            _, log = process.communicate(timeout=300)
        ends.append((process.returncode, log.splitlines()[-1]))
    assert ends[0] == ends[1]
    assert "PermissionError" in ends[0][1]
