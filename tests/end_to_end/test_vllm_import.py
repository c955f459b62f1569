"""Two real caches of vLLM 0.26 on an H200 go into a store and come out again, byte for byte."""

from __future__ import annotations

import json
import lzma
import os
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inductory_client.cli.main import main
from inductory_client.integrations.vllm_folder.parts_list import parse_parts_list
from store_process import StoreProcess

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
PARTS_LIST = "41c58af59d/rank_0_0/backbone/vllm_compile_cache.py"
FILES = 627
ENTRIES = [([1, 16384], index, "inductor_standalone") for index in (0, 1, 28)]

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The VLLM_CACHE_ROOT of both builds, unpacked.

    The archives are too large for the repository and lie beside it, where somebody put them: a clone on its
    own skips, and has the made-up folders of tests/unit. CI has them or fails.
    """
    if not DATA.is_dir():
        (pytest.fail if "CI" in os.environ else pytest.skip)(
            f"the archives of vLLM's caches aren't in {DATA}"
        )
    roots = {}
    for name in ("a", "b"):
        to = tmp_path_factory.mktemp(name)
        with (
            lzma.open(DATA / f"vllm-0.26-qwen3-1.7b-build-{name}.tar.xz") as packed,
            tarfile.open(fileobj=packed) as archive,
        ):
            archive.extractall(to, filter="data")
        (roots[name],) = (path.parent for path in to.rglob("torch_compile_cache"))
    return roots


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """An empty store: what is sent and created is counted."""
    with StoreProcess(tmp_path / "store") as process:
        yield process.url


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return tmp_path / "machine"


@pytest.fixture
def inductory(store: str, machine: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, code: int = 0, at: Path = machine) -> dict[str, Any]:
        places = [f"--cache-dir={at / 'cache'}", f"--config-dir={at / 'config'}"]
        assert main([*words, "--json", f"--url={store}", *places]) == code
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def get(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def tree(root: Path) -> dict[str, bytes]:
    cache = root / "torch_compile_cache"
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def assert_same_but_for_the_place(before: Path, after: Path) -> None:
    old, new = tree(before), tree(after)
    assert len(old) == FILES
    moved = new.pop(PARTS_LIST)
    recorded = old.pop(PARTS_LIST)
    assert new == old
    paths = [part.path for part in parse_parts_list(recorded)]
    root = (paths[0] or "").removesuffix(
        "/41c58af59d/rank_0_0/backbone/artifact_compile_range_1_16384_subgraph_0"
    )
    assert moved == recorded.replace(f"'{root}/".encode(), f"'{after / 'torch_compile_cache'}/".encode())
    assert moved != recorded
    assert all(Path(part.path or "").is_file() for part in parse_parts_list(moved))


def test_both_caches_go_in_and_come_out(
    caches: dict[str, Path], store: str, inductory: Run, tmp_path: Path
) -> None:
    first = inductory("push", str(caches["a"]), "--model", "qwen3-a")
    assert first["files"] == FILES
    assert first["artifacts"] == {"created": 3, "reproduced": 0, "different": 0}
    assert 0 < first["blob_bytes"] < first["file_bytes"] / 4
    second = inductory("push", str(caches["b"] / "torch_compile_cache"), "--model", "qwen3-b")
    assert second["artifacts"] == {"created": 0, "reproduced": 0, "different": 3}
    assert second["blobs_sent"] < first["blobs_sent"] / 4
    assert second["build"] != first["build"]

    for pushed in (first, second):
        rows = get(f"{store}/v1/artifacts?build={pushed['build']}")["entries"]
        assert [(row["shape"], row["submodule_index"], row["backend"]) for row in rows] == ENTRIES
        assert {row["scheme"] for row in rows} == {"vllm"}
        assert {row["model"] for row in rows} == {f"qwen3-{'a' if pushed is first else 'b'}"}
    for shape, index, backend in ENTRIES:
        query = f"shape={shape[0]}-{shape[1]}&submodule_index={index}&backend={backend}"
        rows = get(f"{store}/v1/artifacts?{query}")["entries"]
        assert len(rows) == 2
        assert len({row["artifact"] for row in rows}) == 1

    for name, pushed in (("a", first), ("b", second)):
        pulled = inductory("pull", pushed["build"], "--to", str(tmp_path / name))
        assert (pulled["written"], pulled["unchanged"]) == (FILES, 0)
        assert_same_but_for_the_place(caches[name], tmp_path / name)
        again = inductory("pull", f"qwen3-{name}", "--to", str(tmp_path / name / "torch_compile_cache"))
        assert (again["written"], again["bytes_written"]) == (0, 0)


def test_a_second_push_moves_no_bytes(caches: dict[str, Path], inductory: Run) -> None:
    inductory("push", str(caches["a"]))
    again = inductory("push", str(caches["a"]))
    assert (again["blobs_sent"], again["blob_bytes"]) == (0, 0)
    assert again["artifacts"]["created"] == 0


def test_an_exported_cache_can_be_pushed_again(
    caches: dict[str, Path], inductory: Run, tmp_path: Path
) -> None:
    """As by a node that was filled from the store: the artifacts are the same, the place is another."""
    pushed = inductory("push", str(caches["a"]))
    inductory("pull", pushed["build"], "--to", str(tmp_path / "one"))
    moved = inductory("push", str(tmp_path / "one"))
    assert moved["artifacts"] == {"created": 0, "reproduced": 3, "different": 0}
    assert moved["blobs_sent"] <= 2  # the parts list and the signature of the files
    inductory("pull", moved["build"], "--to", str(tmp_path / "two"))
    assert_same_but_for_the_place(caches["a"], tmp_path / "two")


def test_one_hash_folder_alone(caches: dict[str, Path], inductory: Run, tmp_path: Path) -> None:
    pushed = inductory("push", str(caches["a"] / "torch_compile_cache" / "41c58af59d"))
    assert pushed["files"] == 6
    inductory("pull", pushed["build"], "--to", str(tmp_path))
    assert {name.split("/")[0] for name in tree(tmp_path)} == {"41c58af59d"}


def test_nothing_is_written_that_nobody_trusted_signed(
    caches: dict[str, Path], inductory: Run, tmp_path: Path
) -> None:
    pushed = inductory("push", str(caches["a"]))
    problem = inductory(
        "pull", pushed["build"], "--to", str(tmp_path / "to"), code=4, at=tmp_path / "stranger"
    )
    assert problem["error"]["code"] == "untrusted_signer"
    assert not (tmp_path / "to").exists()


def test_the_parts_list_and_the_blueprint_can_be_read(
    caches: dict[str, Path], store: str, inductory: Run
) -> None:
    pushed = inductory("push", str(caches["a"]))
    cache = caches["a"] / "torch_compile_cache/41c58af59d/rank_0_0/backbone"
    document = f"{store}/v1/builds/{pushed['build']}/documents/{pushed['manifests'][0]}/computation_graph.py"
    with urllib.request.urlopen(document) as answer:
        assert answer.read() == (cache / "computation_graph.py").read_bytes()
    keys = [part.cache_key for part in parse_parts_list((cache / "vllm_compile_cache.py").read_bytes())]
    for form in ("", "&keys=older"):
        with urllib.request.urlopen(f"{store}/v1/builds/{pushed['build']}?format=vllm{form}") as answer:
            parts = parse_parts_list(answer.read())
        assert [part.submodule_index for part in parts] == [0, 1, 28]
        assert len(keys) == len(parts)
    verified = inductory("verify", "--store", pushed["build"])
    assert verified["findings"] == []
