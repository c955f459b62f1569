"""A build is written as vLLM's folder: below it and nowhere else, whole, and again at no cost."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from inductory_client.contract.descriptor import FILE, Descriptor
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Corrupt, DigestMismatch, Malformed, StorageFull
from inductory_client.contract.manifest import Manifest
from inductory_client.integrations.vllm_folder.export import Exported, export_folder
from inductory_client.integrations.vllm_folder.places import Places

LIST = "h/rank_0_0/b/vllm_compile_cache.py"
FILES = {
    "torch_aot_compile/x/rank_0_0/model": b"model",
    "h/rank_0_0/b/part": b"part",
    LIST: b"{(None, 0, 'inductor'): ('k', '/old/h/rank_0_0/b/part')} # kept",
}


def describe(name: str, data: bytes) -> Descriptor:
    return Descriptor(media_type=FILE, digest=digest_of(data), size=len(data), name=name)


def manifest_of(files: dict[str, bytes]) -> Manifest:
    return Manifest(
        scheme="vllm",
        graph_digest="0" * 64,
        guards_digest="0" * 64,
        submodules=1,
        entries=(),
        files=tuple(describe(name, data) for name, data in files.items()),
    )


def export(to: Path, files: dict[str, bytes] = FILES, *, force: bool = False) -> Exported:
    blobs = {digest_of(data): data for data in files.values()}
    return export_folder(
        [manifest_of(files)],
        Places.below(to),
        lambda d: blobs[d.digest],
        force=force,
        progress=lambda message: None,
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_file_is_written_and_the_paths_point_there(tmp_path: Path) -> None:
    report = export(tmp_path / "new")
    root = tmp_path / "new" / "torch_compile_cache"
    moved = FILES[LIST].replace(b"/old/", f"{root}/".encode())
    assert tree(root) == FILES | {LIST: moved}
    assert (report.written, report.unchanged, report.relocated) == (3, 0, 1)


def test_a_second_export_writes_nothing(tmp_path: Path) -> None:
    export(tmp_path)
    report = export(tmp_path / "torch_compile_cache")
    assert (report.written, report.unchanged, report.bytes_written) == (0, 3, 0)


def test_other_files_stay_and_are_told_unless_force_replaces_them(tmp_path: Path) -> None:
    part = tmp_path / "torch_compile_cache" / "h/rank_0_0/b/part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"precious")
    report = export(tmp_path)
    assert (report.written, report.unchanged, report.kept) == (2, 0, ("h/rank_0_0/b/part",))
    assert part.read_bytes() == b"precious"
    report = export(tmp_path, force=True)
    assert (report.written, report.unchanged, report.kept) == (1, 2, ())
    assert part.read_bytes() == b"part"


def test_model_infos_and_kernels_go_where_they_are_looked_for(tmp_path: Path) -> None:
    key = "A" * 52
    kernel = {f"triton_cache/{key}/k.json": b"{}", f"triton_cache/{key}/k.cubin": b"machine code"}
    files = {**kernel, f"triton_cache/{'B' * 52}/launcher.so": b"elf", "modelinfos/m.json": b"{}"}
    to = tmp_path / "to"
    assert export(to, files).written == 5
    written = tree(to)
    group = json.loads(written.pop(f"triton_cache/{key}/__grp__k.json"))
    assert written == files
    assert group == {
        "child_paths": {name: f"{to}/triton_cache/{key}/{name}" for name in ("k.cubin", "k.json")}
    }
    assert export(to, files).unchanged == 5


def test_a_group_of_tritons_own_that_lists_more_is_as_good(tmp_path: Path) -> None:
    folder = tmp_path / "triton_cache" / ("A" * 52)
    names = [f"triton_cache/{'A' * 52}/k.{suffix}" for suffix in ("json", "cubin")]
    export(tmp_path, dict.fromkeys(names, b"{}"))
    more = {name: f"{folder}/{name}" for name in ("k.json", "k.cubin", "k.ptx")}
    (folder / "__grp__k.json").write_text(json.dumps({"child_paths": more}))
    assert export(tmp_path, dict.fromkeys(names, b"{}")).unchanged == 3
    (folder / "__grp__k.json").write_text(json.dumps({"child_paths": {"k.json": "/old/k.json"}}))
    assert export(tmp_path, dict.fromkeys(names, b"{}")).kept == (f"triton_cache/{'A' * 52}/__grp__k.json",)


def test_what_older_clients_published_and_nobody_loads_is_not_written(tmp_path: Path) -> None:
    cache = f"torch_aot_compile/{'ab' * 32}"
    files = {f"{cache}/inductor_cache/ab/cab.py": b"generated", f"{cache}/rank_0_0/model": b"model"}
    assert export(tmp_path, files).written == 1


@pytest.mark.parametrize(
    "at", ["torch_compile_cache", "torch_compile_cache/h", "torch_compile_cache/h/rank_0_0/b/part"]
)
def test_links_are_not_followed(tmp_path: Path, at: str) -> None:
    outside, to = tmp_path / "outside", tmp_path / "to"
    outside.mkdir()
    (to / at).parent.mkdir(parents=True)
    (to / at).symlink_to(outside)
    with pytest.raises(Malformed):
        export(to, force=True)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a//b", "", "a\\b", "a/./b", "a\0b"])
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Malformed):
        export(tmp_path / "to", {name: b"x"})
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "to").exists()


def test_a_parts_list_that_names_a_place_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        export(tmp_path / "to", {LIST: b"{(None, 0, 'inductor'): ('k', '/old/h/rank_0_0/../../../x')}"})
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("lie", [lambda data: data + b"!", lambda data: b""])
def test_bytes_that_are_not_what_was_listed_are_not_written(
    tmp_path: Path, lie: Callable[[bytes], bytes]
) -> None:
    blobs = {digest_of(data): lie(data) for data in FILES.values()}
    with pytest.raises(DigestMismatch):
        export_folder(
            [manifest_of(FILES)],
            Places.below(tmp_path),
            lambda d: blobs[d.digest],
            force=False,
            progress=lambda message: None,
        )
    assert tree(tmp_path) == {}


def test_the_parts_list_comes_last(tmp_path: Path) -> None:
    said: list[str] = []
    blobs = {digest_of(data): data for data in FILES.values()}
    export_folder(
        [manifest_of(FILES)],
        Places.below(tmp_path),
        lambda d: blobs[d.digest],
        force=False,
        progress=said.append,
    )
    assert [message.split(": ")[1] for message in said] == [
        "h/rank_0_0/b/part",
        "torch_aot_compile/x/rank_0_0/model",
        LIST,
    ]


def test_an_interruption_leaves_no_half_file(tmp_path: Path) -> None:
    blobs = {digest_of(data): data for data in FILES.values()}

    def interrupt(message: str) -> None:
        if message.startswith("writing 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_folder(
            [manifest_of(FILES)],
            Places.below(tmp_path),
            lambda d: blobs[d.digest],
            force=False,
            progress=interrupt,
        )
    assert tree(tmp_path / "torch_compile_cache") == {"h/rank_0_0/b/part": b"part"}
    assert export(tmp_path).written == 2


def test_a_full_disk_is_called_one_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageFull):
        export(tmp_path)
    assert tree(tmp_path) == {}


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "torch_compile_cache").mkdir()
    (tmp_path / "torch_compile_cache" / "h").write_text("in the way")
    with pytest.raises(Malformed, match="in the way"):
        export(tmp_path, force=True)


def test_manifests_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    ours, theirs = manifest_of({"a": b"1"}), manifest_of({"a": b"2"})
    with pytest.raises(Corrupt):
        export_folder(
            [ours, theirs],
            Places.below(tmp_path),
            lambda d: b"",
            force=False,
            progress=lambda message: None,
        )
    assert tree(tmp_path) == {}
