"""The ways of a vLLM cache to another node by `inductory push` and `pull`, and what can go wrong on them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inductory_client.cli.main import main
from inductory_client.integrations.vllm_folder.parts_list import parse_parts_list
from store_process import StoreProcess
from vllm_cache import HASH, make_cache, write

Run = Callable[..., dict[str, Any]]
BACKBONE = f"torch_compile_cache/{HASH}/rank_0_0/backbone"
KEY = "A" * 52


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """A store whose bytes may be spoilt."""
    with StoreProcess(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def options(store_url: str, tmp_path: Path) -> list[str]:
    places = [f"--cache-dir={tmp_path / 'c'}", f"--config-dir={tmp_path / 'k'}"]
    return ["--json", f"--url={store_url}", f"--namespace=vllm-{uuid.uuid4().hex[:12]}", *places]


@pytest.fixture
def inductory(options: list[str], capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, code: int = 0) -> dict[str, Any]:
        assert main([*words[:1], *options, *words[1:]]) == code
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def make_kernel(folder: Path) -> None:
    for suffix in ("json", "cubin", "ptx"):
        write(folder / KEY / f"k.{suffix}", f"the {suffix}")
    write(folder / KEY / "__grp__k.json", "{}")


def test_from_where_vllm_looks_to_where_vllm_looks(
    inductory: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an init container: both ends know their folders by what vLLM and Triton are told."""
    make_cache(tmp_path / "warm")
    make_kernel(tmp_path / "warm triton")
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "warm"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "warm triton"))
    pushed = inductory("push", "--vllm", "--model", "m")
    assert pushed["files"] == 9
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "fresh"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "fresh triton"))
    pulled = inductory("pull", "m", "--vllm")
    assert (pulled["build"], pulled["written"]) == (pushed["build"], 10)
    assert set(tree(tmp_path / "fresh")) == set(tree(tmp_path / "warm"))
    kernels = tree(tmp_path / "fresh triton")
    assert set(kernels) == {f"{KEY}/{name}" for name in ("k.json", "k.cubin", "__grp__k.json")}
    paths = json.loads(kernels[f"{KEY}/__grp__k.json"])["child_paths"]
    assert paths == {name: str(tmp_path / "fresh triton" / KEY / name) for name in ("k.json", "k.cubin")}
    (part, _) = parse_parts_list((tmp_path / "fresh" / BACKBONE / "vllm_compile_cache.py").read_bytes())
    assert (part.path or "").startswith(f"{tmp_path}/fresh/{BACKBONE}/")
    assert inductory("pull", "m", "--vllm")["written"] == 0


def test_of_several_builds_of_a_model_the_newest_is_written(inductory: Run, tmp_path: Path) -> None:
    inductory("push", str(make_cache(tmp_path / "old", hashes=("0000000000",))), "--model", "m")
    new = inductory("push", str(make_cache(tmp_path / "new")), "--model", "m")
    assert inductory("pull", "m", "--to", str(tmp_path / "to"))["build"] == new["build"]


def test_what_vllm_wrote_meanwhile_stays(inductory: Run, tmp_path: Path) -> None:
    inductory("push", str(make_cache(tmp_path / "warm")), "--model", "m")
    write(tmp_path / "to" / "modelinfos" / "x.json", '{"newer": true}')
    pulled = inductory("pull", "m", "--to", str(tmp_path / "to"))
    assert pulled["kept"] == ["modelinfos/x.json"]
    assert (tmp_path / "to" / "modelinfos" / "x.json").read_text() == '{"newer": true}'
    assert inductory("pull", "m", "--to", str(tmp_path / "to"), "--force")["kept"] == []


def test_the_form_without_files_of_its_parts(inductory: Run, tmp_path: Path) -> None:
    """Mega: the parts list names none, and the model file holds them all."""
    root = make_cache(tmp_path / "warm")
    for index in range(2):
        (root / BACKBONE / f"artifact_compile_range_1_16384_subgraph_{index}").unlink()
    lines = {((1, 16384), 0, "inductor_standalone"): {"graph_handle": None, "cache_key": "a0"}}
    write(root / BACKBONE / "vllm_compile_cache.py", repr(lines))
    assert inductory("push", str(root), "--model", "m")["inside_model_files"] == 1
    inductory("pull", "m", "--to", str(tmp_path / "to"))
    assert tree(tmp_path / "to") == tree(root)


def test_a_cache_without_its_model_is_told(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_cache(tmp_path / "warm")
    (model,) = root.rglob("model")
    model.unlink()
    assert main(["push", *options, str(root)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["without_model"] == ["ab" * 32]
    assert "holds no model" in said.err


@pytest.mark.parametrize("words", [["push", "--vllm", "/somewhere"], ["push", "/dev/null"]])
def test_what_makes_no_sense_is_refused(words: list[str], inductory: Run) -> None:
    assert inductory(*words, code=2)["error"]["code"] == "bad_settings"


def test_a_place_that_takes_no_files_is_named(inductory: Run, tmp_path: Path) -> None:
    inductory("push", str(make_cache(tmp_path / "warm")), "--model", "m")
    problem = inductory("pull", "m", "--to", "/proc/vllm", code=6)["error"]
    assert problem["code"] == "storage_failed"
    assert "/proc/vllm" in problem["message"]


def test_two_pulls_at_once(inductory: Run, options: list[str], tmp_path: Path) -> None:
    root = make_cache(tmp_path / "warm")
    make_kernel(root / "triton_cache")
    inductory("push", str(root), "--model", "m")
    to = tmp_path / "to"
    command = [sys.executable, "-m", "inductory_client.cli.main", "pull", *options, "m", f"--to={to}"]
    pulls = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [pull.wait() for pull in pulls] == [0, 0]
    assert len(tree(to)) == 10
    assert inductory("pull", "m", "--to", str(to))["unchanged"] == 10


def test_a_push_that_is_killed_is_pushed_again(inductory: Run, options: list[str], tmp_path: Path) -> None:
    root = make_cache(tmp_path / "warm")
    command = [sys.executable, "-m", "inductory_client.cli.main", "push", "-v", *options, str(root)]
    push = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert push.stderr is not None
    for line in push.stderr:
        if line.startswith("publishing manifest 1 of 1: 2 of"):
            os.kill(push.pid, signal.SIGKILL)
            break
    push.stderr.close()
    push.wait()
    pushed = inductory("push", str(root), "--model", "m")
    inductory("pull", pushed["build"], "--to", str(tmp_path / "to"))
    assert len(tree(tmp_path / "to")) == len(tree(root))


def test_spoilt_bytes_are_not_written(
    own_store: StoreProcess, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*options, f"--url={own_store.url}"]
    assert main(["push", *options, str(make_cache(tmp_path / "warm")), "--model", "m"]) == 0
    for blob in own_store.data_dir.rglob("*.zst"):
        blob.chmod(0o600)
        blob.write_bytes(b"spoilt" + blob.read_bytes()[6:])
    capsys.readouterr()
    options = [*options, f"--cache-dir={tmp_path / 'empty'}"]
    assert main(["pull", *options, "m", f"--to={tmp_path / 'to'}"]) != 0
    assert "error" in json.loads(capsys.readouterr().out)
    assert not (tmp_path / "to").exists()
