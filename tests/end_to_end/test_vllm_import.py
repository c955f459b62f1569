"""Two real caches of vLLM 0.26 on an H200 go into a store and come out again in another place."""

from __future__ import annotations

import json
import lzma
import os
import pickletools
import subprocess
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import triton
from inductory_client import Client, Settings
from inductory_client.cli.main import main
from inductory_client.integrations.vllm_folder.container import rewrite_container
from inductory_client.integrations.vllm_folder.normal_form import normal_form, placed
from inductory_client.integrations.vllm_folder.parts_list import parse_parts_list
from inductory_client.integrations.vllm_folder.pickles import is_pickle
from store_process import StoreProcess

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
HASH = "41c58af59d"
BACKBONE = f"{HASH}/rank_0_0/backbone"
PARTS_LIST = f"{BACKBONE}/vllm_compile_cache.py"
PARTS = [f"{BACKBONE}/artifact_compile_range_1_16384_subgraph_{index}" for index in (0, 1, 28)]
FILES = 75
KERNELS = 24
"""Each with a group that is made where it is written."""
MOVED_BYTES_MAX = 1_000_000
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


def another_machine(tmp_path: Path, *, trusting: Path) -> Path:
    """A machine with nothing in its cache, which trusts what the other one signs."""
    keys = tmp_path / "stranger" / "config" / "trusted"
    keys.mkdir(parents=True)
    Client(Settings.load({}, config_dir=trusting / "config", cache_dir=trusting / "cache")).signing_key()
    (keys / "theirs.pub").write_bytes((trusting / "config" / "key.pub").read_bytes())
    return keys.parents[1]


def get(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def recorded_root(cache: Path) -> str:
    """The torch_compile_cache that the cache was compiled in."""
    (first, *_) = parse_parts_list((cache / "torch_compile_cache" / PARTS_LIST).read_bytes())
    return (first.path or "").removesuffix(f"/{PARTS[0]}")


def constants(data: bytes) -> Iterator[tuple[str, str | bytes]]:
    """Name of the opcode and value of all texts and bytes that a part's or a model's pickles push."""
    found: list[bytes] = []

    def keep(entry: bytes) -> bytes:
        found.append(entry)
        return entry

    if is_pickle(data):
        found.append(data)
    else:
        rewrite_container(data, keep)
    for entry in filter(is_pickle, found):
        for opcode, argument, _ in pickletools.genops(entry):
            if isinstance(argument, str | bytes):
                yield opcode.name, argument


def harmless(constant: str | bytes, old: str) -> str:
    """Why a constant that names the old folder does no harm; empty where it might."""
    if isinstance(constant, bytes):
        return "line numbers in machine code, for debuggers" if constant.startswith(b"\x7fELF") else ""
    lines = [line.strip() for line in constant.split("\n") if old in line]
    if all(line.startswith("# kernel path: ") for line in lines):
        return "comments in generated code"
    if "Compile-time auto-tuning block" in constant or constant.startswith(("\nimport os", "s72 = ")):
        return "what torch prints for who repeats a compile; a load doesn't run it"
    return ""


def assert_nothing_read_names_the_old_place(before: Path, after: Path) -> None:
    """But for debug data, whichever file it is in."""
    old, new = recorded_root(before), after / "torch_compile_cache"
    moved = []
    for name, data in tree(after).items():
        if old.encode() not in data:
            continue
        short = name.removeprefix("torch_compile_cache/")
        assert short in PARTS, name
        for _, constant in constants(data):
            named = old in constant if isinstance(constant, str) else old.encode() in constant
            assert not named or harmless(constant, old), (short, constant[:500])
    for part in PARTS:
        moved += [
            text
            for _, text in constants((new / part).read_bytes())
            if isinstance(text, str) and text.startswith(f"{new}/torch_aot_compile/") and "\n" not in text
        ]
    assert len(moved) == 17
    assert {Path(text).suffix for text in moved} == {".py", ".best_config"}
    for part in parse_parts_list((new / PARTS_LIST).read_bytes()):
        assert Path(part.path or "").is_relative_to(new)
        assert Path(part.path or "").is_file()
    for group in (after / "triton_cache").rglob("__grp__*.json"):
        paths = json.loads(group.read_text())["child_paths"].values()
        assert {Path(path).suffix for path in paths} == {".json", ".cubin"}
        assert all(Path(path).parent == group.parent and Path(path).is_file() for path in paths)


def assert_parts_do_the_same(before: Path, after: Path) -> None:
    """A part's pickles push the same, but for paths and for intermediate code."""
    for part in PARTS:
        old, new = (
            list(constants((root / "torch_compile_cache" / part).read_bytes())) for root in (before, after)
        )
        assert len(old) == len(new)
        for (_, a), (_, b) in zip(old, new, strict=True):
            if isinstance(a, bytes) and b == b"":
                assert a.lstrip()[:1] != b"\x7f"
            elif a != b:
                assert Path(str(a)).name == Path(str(b)).name


def test_both_caches_go_in_and_come_out(
    caches: dict[str, Path], store: str, inductory: Run, machine: Path, tmp_path: Path
) -> None:
    stranger = another_machine(tmp_path, trusting=machine)
    first = inductory("push", str(caches["a"]), "--model", "qwen3-a")
    assert first["files"] == FILES
    assert first["artifacts"] == {"created": 3, "reproduced": 0, "different": 0}
    assert 0 < first["blob_bytes"] < MOVED_BYTES_MAX
    second = inductory("push", str(caches["b"] / "torch_compile_cache"), "--model", "qwen3-b")
    assert second["artifacts"] == {"created": 0, "reproduced": 0, "different": 3}
    assert second["blobs_sent"] == 5  # the parts, the model, and the signature of the files
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
        to = tmp_path / name
        pulled = inductory("pull", pushed["build"], "--to", str(to), at=stranger)
        assert (pulled["written"], pulled["unchanged"], pulled["kept"]) == (FILES + KERNELS, 0, [])
        assert pulled["relocated"] == len(PARTS) + 1
        assert pulled["bytes_moved"] < MOVED_BYTES_MAX
        assert_nothing_read_names_the_old_place(caches[name], to)
        assert_parts_do_the_same(caches[name], to)
        again = inductory("pull", f"qwen3-{name}", "--to", str(to / "torch_compile_cache"), at=stranger)
        assert (again["written"], again["bytes_written"]) == (0, 0)
        assert again["bytes_moved"] < 1000  # the signature


def test_a_second_push_moves_no_bytes(caches: dict[str, Path], inductory: Run) -> None:
    inductory("push", str(caches["a"]))
    again = inductory("push", str(caches["a"]))
    assert (again["blobs_sent"], again["blob_bytes"]) == (0, 0)
    assert again["artifacts"]["created"] == 0


def test_an_exported_cache_travels_as_the_one_that_it_came_from(
    caches: dict[str, Path], inductory: Run, tmp_path: Path
) -> None:
    """From a node that was filled from the store; and whoever compiled it has it already."""
    pushed = inductory("push", str(caches["a"]))
    root = tmp_path / "one"
    inductory("pull", pushed["build"], "--to", str(root))
    moved = inductory("push", str(root))
    assert moved["artifacts"] == {"created": 0, "reproduced": 3, "different": 0}
    assert (moved["build"], moved["blobs_sent"]) == (pushed["build"], 0)
    for part in PARTS:
        recorded = (caches["a"] / "torch_compile_cache" / part).read_bytes()
        compiled_there = placed(part, recorded, str(root / "torch_compile_cache"))
        (root / "torch_compile_cache" / part).write_bytes(compiled_there)
    again = inductory("pull", pushed["build"], "--to", str(root))
    assert (again["written"], again["unchanged"], again["kept"]) == (0, FILES + KERNELS, [])


def test_another_compile_that_is_there_stays_and_is_told(
    caches: dict[str, Path], inductory: Run, tmp_path: Path
) -> None:
    for name in caches:
        inductory("push", str(caches[name]), "--model", "qwen3")
    builds = [inductory("pull", "qwen3", "--to", str(tmp_path / str(turn)))["build"] for turn in range(2)]
    assert len(set(builds)) == 1  # the newest of both
    other = inductory("push", str(caches["a"]))["build"]
    mixed = inductory("pull", other, "--to", str(tmp_path / "0"))
    assert {Path(name).name for name in mixed["kept"]} == {Path(part).name for part in PARTS} | {"model"}
    forced = inductory("pull", other, "--to", str(tmp_path / "0"), "--force")
    assert (forced["written"], forced["kept"]) == (4, [])


def test_machine_code_stays_as_it_was(caches: dict[str, Path], tmp_path: Path) -> None:
    """Disassembled, a kernel that lost its debug text is the same."""
    disassembler = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    for kernel in ("_gumbel_sample_kernel",):
        (before,) = caches["a"].rglob(f"{kernel}.cubin")
        after = tmp_path / before.name
        after.write_bytes(
            normal_form(f"triton_cache/{before.parent.name}/{before.name}", before.read_bytes())
        )
        assert before.read_bytes() != after.read_bytes()
        code = [
            subprocess.run([disassembler, "-c", path], check=True, capture_output=True).stdout
            for path in (before, after)
        ]
        assert code[0] == code[1]


def test_one_hash_folder_alone(caches: dict[str, Path], inductory: Run, tmp_path: Path) -> None:
    pushed = inductory("push", str(caches["a"] / "torch_compile_cache" / "41c58af59d"))
    assert pushed["files"] == 6
    inductory("pull", pushed["build"], "--to", str(tmp_path / "to"))
    assert {tuple(name.split("/")[:2]) for name in tree(tmp_path / "to")} == {("torch_compile_cache", HASH)}


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
