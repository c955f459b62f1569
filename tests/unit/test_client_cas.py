from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

import pytest
from client_samples import draft, publication, signed
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.cas import LocalCas
from inductory_client.contract.bundle import BundleIndex
from inductory_client.contract.digest import digest_of
from inductory_client.eviction import CasFile, condemned
from inductory_client.trouble import forget_warnings
from inductory_client.trust import SigningKey

MANY = 1 << 30


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


@pytest.fixture
def cas(tmp_path: Path) -> LocalCas:
    return LocalCas(tmp_path / "cache", MANY)


def put(cas: LocalCas, data: bytes) -> str:
    digest = digest_of(data)
    assert cas.put(digest, data)
    return digest


def path_of(cas: LocalCas, digest: str) -> Path:
    return cas.root / "cas" / "sha256" / digest[:2] / digest


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_what_is_put_is_got(tmp_path_factory: pytest.TempPathFactory, datas: list[bytes]) -> None:
    root = tmp_path_factory.mktemp("cas")
    digests = [put(LocalCas(root, MANY), data) for data in datas]
    other_process = LocalCas(root, MANY)
    assert [other_process.get(digest) for digest in digests] == datas
    assert other_process.scan(deep=True).damaged == ()


def test_what_was_never_put_is_a_miss(cas: LocalCas) -> None:
    assert cas.get("ab" * 32) is None
    assert cas.artifact("ab" * 32) is None
    assert not cas.root.exists(), "asking makes no folder"


@pytest.mark.parametrize("name", ["", "..", "../" * 21 + "a", "AB" * 32, "ab" * 32 + "\n"])
def test_only_digests_make_paths(cas: LocalCas, name: str) -> None:
    with pytest.raises(ValueError, match="isn't a name"):
        cas.get(name)
    with pytest.raises(ValueError, match="isn't a name"):
        cas.put(name, b"")


def test_folders_are_for_us_alone(cas: LocalCas) -> None:
    digest = put(cas, b"data")
    cas.put_artifact(signed(draft(), SigningKey.generate()))
    folders = [path for path in (cas.root, *cas.root.rglob("*")) if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    assert stat.S_IMODE(path_of(cas, digest).stat().st_mode) == 0o600


@given(st.binary(min_size=1, max_size=200), st.data())
def test_damage_is_never_returned(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, choose: st.DataObject
) -> None:
    """Whatever happens to the file: flipped, cut, emptied, grown, replaced by other bytes."""
    cas = LocalCas(tmp_path_factory.mktemp("cas"), MANY)
    digest = put(cas, data)
    path = path_of(cas, digest)
    whole = path.read_bytes()
    at = choose.draw(st.integers(0, len(data) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    damaged = choose.draw(st.sampled_from([flipped, whole[:at], b"", whole + b"\0", b"\0" + whole]))
    path.write_bytes(damaged)
    assert cas.scan(deep=True).damaged == (digest,)
    assert cas.get(digest) is None
    assert not path.exists(), "a damaged blob is dropped, so that the next fetch mends it"
    assert put(cas, data) == digest
    assert cas.get(digest) == data


def test_a_scan_finds_damage_by_checksum_alone(cas: LocalCas) -> None:
    good, bad = put(cas, b"good"), put(cas, b"bad!")
    key = signed(draft(), SigningKey.generate()).key
    cas.put_artifact(signed(draft(), SigningKey.generate()))
    record = cas.root / "artifacts" / key[:2] / f"{key}.json"
    record.write_bytes(record.read_bytes()[:-10])
    path_of(cas, bad).write_bytes(b"BAD!" + path_of(cas, bad).read_bytes()[4:])
    found = cas.scan()
    assert (found.blobs, found.artifacts) == (2, 1)
    assert set(found.damaged) == {bad, key}
    assert path_of(cas, bad).exists(), "a scan changes nothing"
    assert cas.get(good) == b"good"


def test_wrong_bytes_under_a_digest_are_not_returned(cas: LocalCas) -> None:
    digest = digest_of(b"right")
    cas.put(digest, b"wrong")
    assert cas.get(digest) is None


def test_a_symbolic_link_is_not_followed(cas: LocalCas, tmp_path: Path) -> None:
    digest = put(cas, b"data")
    elsewhere = tmp_path / "elsewhere"
    path_of(cas, digest).rename(elsewhere)
    path_of(cas, digest).symlink_to(elsewhere)
    assert cas.get(digest) is None


def test_records_are_kept_by_key_and_damaged_ones_dropped(cas: LocalCas) -> None:
    artifact = signed(draft(), SigningKey.generate())
    assert cas.put_artifact(artifact)
    assert cas.artifact(artifact.key) == artifact
    assert list(cas.artifacts()) == [artifact]
    record = cas.root / "artifacts" / artifact.key[:2] / f"{artifact.key}.json"
    record.write_text('{"surprise": 1}')
    assert cas.artifact(artifact.key) is None
    assert not record.exists()


def test_the_least_recently_used_go_first_and_the_bound_holds(tmp_path: Path) -> None:
    blob_bytes, kept = 1000, 20
    cas = LocalCas(tmp_path, kept * (blob_bytes + 16))
    digests = []
    for n in range(3 * kept):
        digests.append(put(cas, n.to_bytes(2, "big") * (blob_bytes // 2)))
        os.utime(path_of(cas, digests[-1]), (n, n))
        assert cas.get(digests[0]) is not None, "used all the time, so never evicted"
        assert cas.scan().read_bytes <= cas.bytes_max
    assert cas.get(digests[-1]) is not None
    assert cas.get(digests[1]) is None
    assert cas.scan().read_bytes >= cas.bytes_max * 0.8


def test_a_blob_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cas = LocalCas(tmp_path, 1000)
    small = put(cas, b"small")
    assert not cas.put(digest_of(b"x" * 2000), b"x" * 2000)
    assert cas.get(small) == b"small"


def test_one_process_evicts_at_a_time(tmp_path: Path) -> None:
    import fcntl

    LocalCas(tmp_path, MANY)
    digests = [put(LocalCas(tmp_path, MANY), bytes([n]) * 1000) for n in range(5)]
    with (tmp_path / "evict.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert LocalCas(tmp_path, 2000).evict() == 0
    assert LocalCas(tmp_path, 2000).evict() > 0
    assert sum(LocalCas(tmp_path, MANY).get(digest) is not None for digest in digests) == 1


def test_eviction_clears_what_dead_processes_left(cas: LocalCas) -> None:
    digest = put(cas, b"data")
    old, new = (path_of(cas, digest).with_name(f".tmp-1-{name}") for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half a blob")
    os.utime(old, (0, 0))
    cas.evict()
    assert not old.exists()
    assert new.exists(), "another process may be writing it"
    assert cas.get(digest) == b"data"


def test_a_file_where_the_folder_should_be_is_warned_about_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file")
    cas = LocalCas(tmp_path / "cache", MANY)
    with caplog.at_level(logging.WARNING, "inductory"):
        for _ in range(3):
            assert not cas.put(digest_of(b"x"), b"x")
            assert cas.get(digest_of(b"x")) is None
        assert cas.evict() == 0
        assert cas.scan().blobs == 0
    assert len(caplog.records) == 1


sizes = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 100)), max_size=30)


@given(sizes, st.integers(1, 1500))
def test_the_plan_is_the_oldest_and_no_more_than_needed(files: list[tuple[int, int]], bytes_max: int) -> None:
    all_files = [CasFile(used, f"{n:02}", size) for n, (used, size) in enumerate(files)]
    gone = condemned(all_files, bytes_max, keep=None)
    kept = [file for file in all_files if file not in gone]
    total = sum(file.size for file in all_files)
    if total <= bytes_max:
        assert gone == []
        return
    assert sum(file.size for file in kept) <= bytes_max * 0.9
    assert sum(file.size for file in kept) + gone[-1].size > bytes_max * 0.9
    oldest = max((file.used_ns, file.path) for file in gone)
    assert all((file.used_ns, file.path) > oldest for file in kept)


def test_what_was_just_written_stays() -> None:
    files = [CasFile(1, "new", 500), CasFile(2, "a", 300), CasFile(3, "b", 300)]
    assert [file.path for file in condemned(files, 1000, keep="new")] == ["a"]


def test_usage_counts_every_file(tmp_path: Path) -> None:
    cas = LocalCas(tmp_path, 1 << 30)
    sent = publication("a")
    assert sent.build is not None
    cas.put_names(sent.names)
    cas.put_build(BundleIndex(build=sent.build, manifests=(), artifacts=()))
    sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert cas.usage().used_bytes == sum(sizes) > 0
    assert list(cas.published()) == [sent.names]


@pytest.mark.parametrize(("before", "after"), [(0o500, 0o500), (0o555, 0o500), (0o755, 0o700)])
def test_rights_are_taken_from_others_and_never_given_back_to_us(
    tmp_path: Path, before: int, after: int
) -> None:
    """Who made a folder read-only meant it."""
    (tmp_path / "cas").mkdir()
    (tmp_path / "cas" / "sha256").mkdir(mode=0o700)
    (tmp_path / "cas").chmod(before)
    assert LocalCas(tmp_path, 1 << 30).get("ab" * 32) is None
    assert stat.S_IMODE((tmp_path / "cas").stat().st_mode) == after


def test_a_folder_whose_mode_cannot_be_changed_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a read-only mount, which a test can't make."""
    data = b"there"
    LocalCas(tmp_path, 1 << 30).put(digest_of(data), data)
    (tmp_path / "cas").chmod(0o755)

    def refuse(path: Path, mode: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "chmod", refuse)
    assert LocalCas(tmp_path, 1 << 30).get(digest_of(data)) == data
