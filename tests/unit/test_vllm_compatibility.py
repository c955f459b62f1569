"""The table of which levels of the plugin fit which vLLM, made from archives of small sources."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from inductory_client.integrations.vllm.places import LOAD_MODEL, PLACES, WARMED_UP

SCRIPT = Path(__file__).parents[2] / "scripts" / "vllm_compatibility.py"
VERSION = "0.99.1"
METADATA = f"Metadata-Version: 2.4\nName: vllm\nVersion: {VERSION}\nRequires-Dist: torch==2.15.0\n"
BEGIN, END = "<!-- compatibility: begin -->", "<!-- compatibility: end -->"

Files = dict[str, str]
Archive = Callable[[Path, Files], Path]


@pytest.fixture
def sources() -> Files:
    """A vLLM that has just what the plugin relies on."""
    classes: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for place in (place for places in PLACES.values() for place in places):
        owner, _, name = place.name.rpartition(".")
        classes[place.file, owner][name] = f"def {name}({', '.join(place.parameters)}): ...\n"
    found = {"vllm/__init__.py": ""}
    for (path, owner), functions in classes.items():
        head, indent = (f"class {owner}:\n", "    ") if owner else ("", "")
        found[path] = found.get(path, "") + head + "".join(indent + each for each in functions.values())
    return found


def folder(place: Path, sources: Files) -> Path:
    """As an installed vLLM lies."""
    for name, text in {**sources, f"vllm-{VERSION}.dist-info/METADATA": METADATA}.items():
        path = place / "site-packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return place / "site-packages"


def wheel(place: Path, sources: Files) -> Path:
    path = place / f"vllm-{VERSION}-cp38-abi3-manylinux1_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**sources, f"vllm-{VERSION}.dist-info/METADATA": METADATA}.items():
            archive.writestr(name, text)
    return path


def sdist(place: Path, sources: Files) -> Path:
    """Its PKG-INFO names no torch; the requirements do."""
    more = {
        "PKG-INFO": METADATA.replace("Requires-Dist: torch==2.15.0\n", ""),
        "requirements/cuda.txt": "# of CUDA\nnumba\ntorch == 2.15.0\ntorchaudio==2.15.0\n",
    }
    path = place / f"vllm-{VERSION}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {**sources, **more}.items():
            member = tarfile.TarInfo(f"vllm-{VERSION}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


every_archive = pytest.mark.parametrize("archive", [folder, wheel, sdist])


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=60)


def check_it_gives_up(ended: subprocess.CompletedProcess[str], reason: str) -> None:
    assert (ended.returncode, ended.stdout) == (2, "")
    assert reason in ended.stderr
    assert ended.stderr.count("\n") == 1


@every_archive
def test_a_vllm_as_it_was_read_fits_at_every_level(archive: Archive, sources: Files, tmp_path: Path) -> None:
    ended = run(archive(tmp_path, sources))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "| vLLM | torch | model | submodule | modelinfo | triton | run |",
        "|---|---|---|---|---|---|---|",
        "| 0.99.1 | 2.15.0 | yes | yes | yes | yes |  |",
    ]


@every_archive
def test_a_parameter_that_moved_is_told_and_costs_its_level_alone(
    archive: Archive, sources: Files, tmp_path: Path
) -> None:
    sources[LOAD_MODEL.file] = sources[LOAD_MODEL.file].replace(
        "(model, aot_compilation_path)", "(model, device, aot_compilation_path)"
    )
    ended = run(archive(tmp_path, sources))
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1] == "| 0.99.1 | 2.15.0 | no | yes | yes | yes |  |"
    assert ended.stderr == (
        "0.99.1 model: vllm.compilation.decorators._try_load_aot_compiled_fn takes "
        "(model, device, aot_compilation_path)\n"
    )


@every_archive
def test_a_file_that_is_gone_is_told(archive: Archive, sources: Files, tmp_path: Path) -> None:
    del sources[WARMED_UP.file]
    ended = run(archive(tmp_path, sources))
    assert ended.stdout.splitlines()[-1] == "| 0.99.1 | 2.15.0 | yes | yes | yes | no |  |"
    assert ended.stderr == f"0.99.1 triton: {WARMED_UP.module}.{WARMED_UP.name} isn't there\n"


def test_the_newest_version_stands_first(sources: Files, tmp_path: Path) -> None:
    archives = []
    for version in ("0.9.2", "0.32.0", "0.10.0"):
        place = tmp_path / version
        place.mkdir()
        path = folder(place, sources)
        metadata = path / f"vllm-{VERSION}.dist-info" / "METADATA"
        metadata.write_text(METADATA.replace(VERSION, version))
        archives.append(path)
    rows = run(*archives).stdout.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| 0.32.0", "| 0.10.0", "| 0.9.2"]
    assert rows[0].endswith("| on a CPU, in CI |"), "versions that were really run say so"


def test_just_what_lies_between_the_marks_is_written(sources: Files, tmp_path: Path) -> None:
    document = tmp_path / "vllm.md"
    document.write_text(f"# Before\n\n{BEGIN}\nan old table\n{END}\n\nAfter, with {END} again.\n")
    archive = wheel(tmp_path, sources)
    table = run(archive).stdout
    for _ in range(2):
        ended = run(archive, "--write", document)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        written = document.read_text()
        assert written == f"# Before\n\n{BEGIN}\n{table}{END}\n\nAfter, with {END} again.\n"


@pytest.mark.parametrize("text", ["no marks", f"{BEGIN}\nno end", f"no begin\n{END}", f"{END} {BEGIN}"])
def test_nothing_is_written_where_a_mark_is_missing(sources: Files, tmp_path: Path, text: str) -> None:
    document = tmp_path / "vllm.md"
    document.write_text(text)
    ended = run(wheel(tmp_path, sources), "--write", document)
    check_it_gives_up(ended, f"{document} has no {BEGIN} and {END} to write between")
    assert document.read_text() == text
    document.unlink()
    check_it_gives_up(run(wheel(tmp_path, sources), "--write", document), "No such file")


@every_archive
def test_an_archive_of_something_else_is_an_error(archive: Archive, tmp_path: Path) -> None:
    path = archive(tmp_path, {"numpy/__init__.py": ""})
    check_it_gives_up(run(path), f"{path}: there is no vLLM in it")


@pytest.mark.parametrize("name", ["vllm.whl", "vllm.tar.gz"])
def test_what_is_no_archive_is_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("<html>not found</html>")
    check_it_gives_up(run(path), f"{path}: ")
    check_it_gives_up(run(tmp_path / "absent" / name), "No such file")


@pytest.mark.parametrize("archive", [wheel, sdist])
def test_an_archive_that_was_cut_off_is_an_error(archive: Archive, sources: Files, tmp_path: Path) -> None:
    path = archive(tmp_path, sources)
    path.write_bytes(path.read_bytes()[:-200])
    check_it_gives_up(run(path), f"{path}: ")


def test_a_folder_without_vllm_is_an_error(tmp_path: Path) -> None:
    check_it_gives_up(run(tmp_path), f"{tmp_path}: no vLLM is installed in it")


def test_a_wheel_of_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "vllm.whl"
    zipfile.ZipFile(path, "w").close()
    check_it_gives_up(run(path), f"{path}: it is no wheel")


def test_sources_that_this_python_cannot_read_are_an_error(sources: Files, tmp_path: Path) -> None:
    sources[LOAD_MODEL.file] = "def of a language to come"
    path = wheel(tmp_path, sources)
    check_it_gives_up(run(path), f"{path}: expected '('")
