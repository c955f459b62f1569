"""A vLLM cache folder becomes artifacts, manifests and one build; anything else is refused, and named."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import (
    BadSettings,
    BadSignature,
    Malformed,
    StorageFailed,
    UntrustedSigner,
)
from inductory_client.contract.manifest import BLUEPRINT, PARTS_LIST, Manifest
from inductory_client.integrations.vllm_folder.file_list import check_file_list
from inductory_client.integrations.vllm_folder.reading import ReadFolder, read_folder
from inductory_client.integrations.vllm_folder.tree import locate
from inductory_client.trust import Keyring, SigningKey
from vllm_cache import HASH, make_cache, write

KEY = SigningKey.generate()


def read(folder: Path) -> ReadFolder:
    return read_folder(folder, namespace="default", model="", sign=KEY.sign)


def test_a_folder_is_read(tmp_path: Path) -> None:
    found = read(make_cache(tmp_path))
    (publication,) = found.publications
    manifest = publication.manifest
    assert manifest is not None
    assert publication.build == found.build
    assert [(entry.shape, entry.submodule_index, entry.backend) for entry in manifest.entries] == [
        ((1, 16384), 0, "inductor_standalone"),
        ((1, 16384), 1, "inductor_standalone"),
    ]
    assert [entry.artifact for entry in manifest.entries] == [d.subject.key for d in publication.artifacts]
    assert [draft.scheme_key for draft in publication.artifacts] == ["a0", "a1"]
    assert publication.artifacts[1].blobs[0].data == b"code 1"
    assert manifest.submodules == 3
    assert found.files == len(manifest.files) == 7
    assert {blob.name.split("/")[0] for blob in manifest.files} == {HASH, "torch_aot_compile", "modelinfos"}
    assert found.build.component == "backbone"
    assert found.build.model == HASH
    assert found.build.entries[0].manifest == manifest.manifest.id
    factors = publication.artifacts[0].target.factors
    assert factors["vllm.code_hash"] == "c"
    assert factors["vllm.rank"] == "rank_0_0"
    assert factors["vllm.env"] == digest_of(b'{"A": 1}')


def test_every_form_of_the_folder_is_known(tmp_path: Path) -> None:
    root = make_cache(tmp_path)
    cache = root / "torch_compile_cache"
    assert locate(root) == locate(cache)
    assert read(root).build.key == read(cache).build.key
    one = read(cache / HASH)
    assert one.files == 5
    assert one.build.entries[0].name == f"{HASH}/rank_0_0/backbone"


def test_equal_keys_of_different_bytes_are_one_artifact_key_and_two_builds(tmp_path: Path) -> None:
    ours, theirs = read(make_cache(tmp_path / "a")), read(make_cache(tmp_path / "b", salt="!"))
    keys = [[draft.subject.key for draft in found.publications[0].artifacts] for found in (ours, theirs)]
    assert keys[0] == keys[1]
    assert ours.build.key != theirs.build.key
    assert read(make_cache(tmp_path / "c")).build.key == ours.build.key


def test_several_ranks_and_hashes_are_manifests_of_one_build(tmp_path: Path) -> None:
    found = read(make_cache(tmp_path, hashes=(HASH, "0123456789"), ranks=2))
    assert len(found.build.entries) == len(found.publications) == 4
    assert [publication.build is not None for publication in found.publications] == [
        False,
        False,
        False,
        True,
    ]
    held = [blob.name for p in found.publications if p.manifest for blob in p.manifest.files]
    assert len(held) == len(set(held)) == found.files
    assert found.build.rank_layout == {"ranks": "rank_0_0 rank_1_0"}
    assert "vllm.rank" not in found.build.target.factors
    ranked = {draft.target.factors["vllm.rank"] for p in found.publications for draft in p.artifacts}
    assert ranked == {"rank_0_0", "rank_1_0"}


def test_parts_inside_the_model_file_are_counted_not_invented(tmp_path: Path) -> None:
    root = make_cache(tmp_path)
    lines = {((1, 8), 0, "inductor_standalone"): {"graph_handle": None, "cache_key": "a0"}}
    write(root / f"torch_compile_cache/{HASH}/rank_0_0/backbone/{PARTS_LIST}", repr(lines))
    found = read(root)
    assert found.inside_model_files == 1
    assert found.publications[0].artifacts == ()


def test_an_unpacked_part_is_an_artifact_of_several_blobs(tmp_path: Path) -> None:
    root = make_cache(tmp_path)
    part = root / f"torch_compile_cache/{HASH}/rank_0_0/backbone/artifact_compile_range_1_16384_subgraph_0"
    part.unlink()
    write(part / "py/ab.py", "x")
    write(part / "key", "y")
    (first, _) = read(root).publications[0].artifacts
    assert [blob.name for blob in first.blobs] == ["key", "py/ab.py"]


def test_the_older_form_names_inductors_own_files(tmp_path: Path) -> None:
    root = make_cache(tmp_path)
    rank = root / f"torch_compile_cache/{HASH}/rank_0_0"
    write(rank / "inductor_cache/ab/cab.py", "generated")
    lines = {
        (None, 0, "inductor"): (
            "fxhash",
            f"/old/torch_compile_cache/{HASH}/rank_0_0/inductor_cache/ab/cab.py",
        )
    }
    write(rank / "backbone" / PARTS_LIST, repr(lines))
    found = read(root)
    (publication,) = found.publications
    assert publication.manifest is not None
    assert len(publication.manifest.files) == found.files == 8
    (draft,) = publication.artifacts
    assert (draft.shape, draft.scheme_key, draft.blobs[0].data) == (None, "fxhash", b"generated")


def test_the_files_are_signed_as_a_list(tmp_path: Path) -> None:
    manifest = read(make_cache(tmp_path)).publications[0].manifest
    assert manifest is not None
    whole = manifest.manifest
    documents = {blob.descriptor.digest: blob.data for blob in manifest.documents}
    trusting = Keyring([KEY.public_key])

    def check(seen: Manifest, keyring: Keyring = trusting, lie: bytes | None = None) -> None:
        check_file_list(seen, lambda each: documents[each.digest] if lie is None else lie, keyring)

    check(whole)
    with pytest.raises(BadSignature):
        check(msgspec.structs.replace(whole, files=whole.files[1:]))
    with pytest.raises(BadSignature):
        check(msgspec.structs.replace(whole, documents=()))
    with pytest.raises(Malformed):
        check(whole, lie=b"{}")
    with pytest.raises(UntrustedSigner):
        check(whole, Keyring([SigningKey.generate().public_key]))


def test_links_and_odd_files_are_refused(tmp_path: Path) -> None:
    root = make_cache(tmp_path)
    odd = root / "torch_compile_cache/torch_aot_compile/odd"
    odd.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Malformed, match="symbolic link"):
        read(root)
    odd.unlink()
    os.mkfifo(odd)
    with pytest.raises(Malformed, match="not a plain file"):
        read(root)
    odd.unlink()
    write(odd.with_name("back\\slash"), "")
    with pytest.raises(Malformed, match="relative path"):
        read(root)


def test_what_a_start_has_no_use_for_stays(tmp_path: Path) -> None:
    root = make_cache(tmp_path)
    aot = root / "torch_compile_cache/torch_aot_compile" / ("cd" * 32)
    write(aot / "inductor_cache/ab/cab.py", "generated")
    write(aot / "rank_0_0/model.77.tmp", "half a model")
    (aot / "inductor_cache/odd").symlink_to(tmp_path / "elsewhere")
    found = read(root)
    assert found.files == 7
    assert found.without_model == ("cd" * 32,)


def test_kernels_are_gathered_from_both_folders(tmp_path: Path) -> None:
    root, own = make_cache(tmp_path / "vllm"), tmp_path / "triton"
    inside = root / "torch_compile_cache/torch_aot_compile" / ("ab" * 32) / "inductor_cache/triton/0"
    for folder, key, kernel in (
        (inside, "A" * 52, "_gumbel_sample_kernel"),
        (inside, "B" * 52, "triton_poi_fused_2"),  # Inductor's
        (inside, "C" * 52, "brought_along"),
        (own, "A" * 52, "_gumbel_sample_kernel"),
    ):
        for suffix in ("json", "cubin", "ptx", "ttir"):
            write(folder / key / f"{kernel}.{suffix}", f"{folder.name} {suffix}")
        write(folder / key / f"__grp__{kernel}.json", "{}")
    write(own / ("D" * 52) / "launcher.so", "elf")
    write(own / ("E" * 52) / "unfinished.cubin", "no group")
    write(root / f"torch_compile_cache/{HASH}/rank_0_0/backbone/artifact", b"knows " + b"C" * 52 + b" by key")
    found = read_folder(root, namespace="default", model="", sign=KEY.sign, triton=own)
    manifest = found.publications[0].manifest
    assert manifest is not None
    assert {blob.name: blob.data for blob in manifest.files if blob.name.startswith("triton_cache/")} == {
        f"triton_cache/{'A' * 52}/_gumbel_sample_kernel.json": b"0 json",
        f"triton_cache/{'A' * 52}/_gumbel_sample_kernel.cubin": b"0 cubin",
        f"triton_cache/{'D' * 52}/launcher.so": b"elf",
    }


def test_a_name_that_stands_for_another_folder_is_refused(tmp_path: Path) -> None:
    root = make_cache(tmp_path)
    write(root / "torch_compile_cache/modelinfos/x.json", "{}")
    with pytest.raises(Malformed, match="stands for another folder"):
        read(root)


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    root = make_cache(tmp_path)
    part = root / f"torch_compile_cache/{HASH}/rank_0_0/backbone/artifact_compile_range_1_16384_subgraph_1"
    part.unlink()
    with pytest.raises(Malformed, match="subgraph_1, which isn't there"):
        read(root)


@pytest.mark.parametrize("path", ["/elsewhere/part", "relative", f"/x/{HASH}/rank_0_0/../../../etc/passwd"])
def test_a_part_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    root = make_cache(tmp_path)
    lines = {(None, 0, "inductor"): ("hash", path)}
    write(root / f"torch_compile_cache/{HASH}/rank_0_0/backbone/{PARTS_LIST}", repr(lines))
    with pytest.raises(Malformed):
        read(root)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000])
def test_broken_factors_are_refused(tmp_path: Path, text: str) -> None:
    root = make_cache(tmp_path)
    write(root / f"torch_compile_cache/{HASH}/rank_0_0/backbone/cache_key_factors.json", text)
    with pytest.raises(Malformed, match="cache_key_factors"):
        read(root)


def test_what_is_not_a_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="not a folder"):
        locate(tmp_path / "nowhere")
    with pytest.raises(BadSettings, match="not a vLLM cache"):
        locate(tmp_path)
    (tmp_path / "torch_compile_cache").mkdir()
    with pytest.raises(BadSettings, match="hasn't compiled anything"):
        read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    root = make_cache(tmp_path)
    part = root / f"torch_compile_cache/{HASH}/rank_0_0/backbone/{BLUEPRINT}"
    part.chmod(0)
    with pytest.raises(StorageFailed, match=BLUEPRINT):
        read(root)
