"""Every form of a vLLM cache goes through a store: several ranks, unpacked parts, the older parts list."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client_samples import client
from inductory_client.cli.main import main
from inductory_client.contract.manifest import PARTS_LIST
from inductory_client.integrations.vllm_folder.reading import read_folder
from inductory_client.trust import SigningKey
from vllm_cache import HASH, make_cache, write

Run = Callable[..., dict[str, Any]]
BACKBONE = f"torch_compile_cache/{HASH}/rank_0_0/backbone"


@pytest.fixture
def inductory(store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    common = ["--json", f"--url={store_url}", f"--namespace=vllm-{uuid.uuid4().hex[:12]}"]

    def run(name: str, *words: str, code: int = 0) -> dict[str, Any]:
        places = (
            [] if name == "lookup" else [f"--cache-dir={tmp_path / 'c'}", f"--config-dir={tmp_path / 'k'}"]
        )
        assert main([name, *common, *places, *words]) == code
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def round_trip(inductory: Run, root: Path, to: Path) -> dict[str, Any]:
    """Push and pull, compare every byte but the parts lists', and return what the push said."""
    pushed = inductory("push", str(root))
    inductory("pull", pushed["build"], "--to", str(to))
    before, after = tree(root / "torch_compile_cache"), tree(to / "torch_compile_cache")
    place = f"'{to / 'torch_compile_cache'}/".encode()
    moved = {
        name: data.replace(b"'/old/torch_compile_cache/", place) if name.endswith(PARTS_LIST) else data
        for name, data in before.items()
    }
    assert after == moved
    return pushed


def test_several_ranks_and_hashes(inductory: Run, tmp_path: Path) -> None:
    pushed = round_trip(
        inductory, make_cache(tmp_path / "in", hashes=(HASH, "0123456789"), ranks=2), tmp_path / "out"
    )
    assert len(pushed["manifests"]) == 4
    entries = inductory("lookup", "--build", pushed["build"])["entries"]
    assert len(entries) == 8
    assert len({entry["artifact"] for entry in entries}) == 8
    assert inductory("verify", "--store", pushed["build"])["findings"] == []


def test_the_older_form(inductory: Run, tmp_path: Path) -> None:
    root = make_cache(tmp_path / "in")
    generated = f"/old/torch_compile_cache/{HASH}/rank_0_0/inductor_cache/ab/cab.py"
    write(root / f"torch_compile_cache/{HASH}/rank_0_0/inductor_cache/ab/cab.py", "generated")
    write(root / BACKBONE / PARTS_LIST, repr({(None, 0, "inductor"): ("fxhash", generated)}))
    round_trip(inductory, root, tmp_path / "out")
    (entry,) = inductory("lookup", "--shape", "any", "--backend", "inductor")["entries"]
    assert (entry["shape"], entry["submodule_index"], entry["scheme_key"]) == (None, 0, "fxhash")


def test_unpacked_parts(inductory: Run, tmp_path: Path) -> None:
    root = make_cache(tmp_path / "in")
    part = root / BACKBONE / "artifact_compile_range_1_16384_subgraph_0"
    part.unlink()
    write(part / "py" / "ab.py", "x")
    write(part / "key", "y")
    pushed = round_trip(inductory, root, tmp_path / "out")
    assert pushed["artifacts"] == {"created": 2, "reproduced": 0, "different": 0}


def test_what_another_process_is_compiling_stays_here(inductory: Run, store_url: str, tmp_path: Path) -> None:
    root, namespace = make_cache(tmp_path / "in"), f"held-{uuid.uuid4().hex[:12]}"
    found = read_folder(root, namespace=namespace, model="", sign=SigningKey.generate().sign)
    key = found.publications[0].artifacts[0].subject.key
    with client(tmp_path / "other", url=store_url, namespace=namespace) as other:
        other.leases.take([key])
        assert inductory("push", str(root), f"--namespace={namespace}", code=4)["left"] == [key]
        other.leases.end([key])
        pushed = inductory("push", str(root), f"--namespace={namespace}")
        assert (pushed["left"], pushed["artifacts"]["created"]) == ([], 1)
        assert other.reach_store().get_build(pushed["build"]).key == pushed["build"]


def test_parts_that_lie_inside_the_model_file(inductory: Run, tmp_path: Path) -> None:
    root = make_cache(tmp_path / "in")
    inside = {((1, 8), 0, "inductor_standalone"): {"graph_handle": None, "cache_key": "a0"}}
    write(root / BACKBONE / PARTS_LIST, repr(inside))
    pushed = round_trip(inductory, root, tmp_path / "out")
    assert pushed["inside_model_files"] == 1
    assert inductory("lookup", "--build", pushed["build"], code=1)["entries"] == []
