"""Scrubbing a store: what is found where promises don't hold, and what repairing makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bucket import OwnBucket
from inductory_client.cli.main import main
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import BadSettings, Corrupt, StorageFailed, TooLarge
from inductory_store.blobs.disk import MARKER, DiskBlobs
from inductory_store.blobs.unpacking import measured
from inductory_store.catalog.blobs import mark_damaged
from inductory_store.operations import scrub as scrubbing
from inductory_store.operations.get_blob import find_blob
from inductory_store.operations.put_blob import put_blob
from inductory_store.operations.scrub import Found, scrub
from inductory_store.serve import migrate, opened
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from store_process import Database

WHOLE, LOST, DAMAGED, BACK, STRAY, FOREIGN = (b"blob %d" % at * 100 for at in range(6))


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest) -> OwnBucket | None:
    """Where blobs are, if that isn't the data folder."""
    return request.getfixturevalue("bucket") if request.param == "bucket" else None


@pytest.fixture
def environ(database: Database, place: OwnBucket | None) -> dict[str, str]:
    return {**database, **(place.environ if place else {})}


@pytest.fixture
def settings(environ: dict[str, str], tmp_path: Path) -> StoreSettings:
    settings = StoreSettings.load(environ, data_dir=tmp_path / "data")
    migrate(settings)
    return settings


@pytest.fixture
def store(settings: StoreSettings) -> Iterator[Store]:
    with opened(settings) as store:
        yield store


def put(store: Store, data: bytes) -> str:
    digest = digest_of(data)
    put_blob(store, digest, len(data), [pack(data)], packed=True)
    return digest


def path_of(store: Store, data: bytes) -> Path:
    digest = digest_of(data)
    return store.settings.data_dir / "cas" / "sha256" / digest[:2] / f"{digest}.zst"


def rest(store: Store, place: OwnBucket | None, name: bytes, data: bytes) -> None:
    """Have the frame of `data` rest under the name of `name`, and say nothing of it to the catalog."""
    if place:
        place.put(place.key_of(name), pack(data))
        return
    path = path_of(store, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pack(data))


@pytest.fixture
def spoiled(store: Store, place: OwnBucket | None) -> list[Found]:
    """A store in which something of each kind is wrong, and what."""
    for data in (WHOLE, LOST, DAMAGED, BACK):
        put(store, data)
    store.blobs.delete(digest_of(LOST))
    rest(store, place, DAMAGED, b"something else")
    with store.catalog.write() as connection:
        mark_damaged(connection, digest_of(BACK))
    rest(store, place, STRAY, STRAY)
    rest(store, place, FOREIGN, b"something else")
    kinds = {LOST: "lost", DAMAGED: "damaged", BACK: "whole", STRAY: "unpromised", FOREIGN: "foreign"}
    return [Found(digest_of(data), kind) for data, kind in kinds.items()]  # type: ignore[arg-type]


def by_digest(found: Found) -> str:
    return found.digest


def test_a_store_that_is_well_has_nothing_to_find(store: Store) -> None:
    sizes = [len(pack(data)) for data in (WHOLE, LOST)]
    put(store, WHOLE)
    put(store, LOST)
    found = scrub(store)
    assert (found.blobs, found.read_bytes, found.found) == (2, sum(sizes), ())


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_each_kind_is_found_and_nothing_is_changed(
    store: Store, spoiled: list[Found], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "PAGE_BLOBS", page)
    for _ in range(2):
        found = scrub(store)
        assert found.blobs == 4
        assert sorted(found.found, key=by_digest) == sorted(spoiled, key=by_digest)


def test_what_can_be_mended_is_mended(store: Store, spoiled: list[Found]) -> None:
    found = scrub(store, repair=True)
    assert {each.what for each in found.found if each.repaired} == {"lost", "damaged", "whole", "unpromised"}
    assert {each.digest for each in found.found} == {each.digest for each in spoiled}
    for data in (WHOLE, BACK, STRAY):
        assert find_blob(store, digest_of(data)).size == len(data)
    # What is lost is asked of the next publisher, and what is foreign waits for people.
    assert [each.what for each in scrub(store).found] == ["foreign"]
    for data in (LOST, DAMAGED, FOREIGN):
        put(store, data)
    assert scrub(store).found == ()


def test_presence_reads_nothing_that_is_promised(store: Store, spoiled: list[Found]) -> None:
    found = scrub(store, read=False)
    kinds = {each.digest: each.what for each in found.found}
    assert kinds[digest_of(LOST)] == "lost"
    assert digest_of(DAMAGED) not in kinds


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_a_folder_that_is_away_loses_nothing(store: Store) -> None:
    put(store, WHOLE)
    marker = store.settings.data_dir / "cas" / "sha256" / MARKER
    path_of(store, WHOLE).unlink()
    marker.unlink()
    with pytest.raises(StorageFailed):
        scrub(store, repair=True)
    marker.touch()
    put(store, WHOLE)
    assert scrub(store).found == ()


def test_where_there_is_no_store_is_told(tmp_path: Path) -> None:
    nowhere = StoreSettings(data_dir=tmp_path / "nowhere")
    with pytest.raises(BadSettings, match="there is no store"), opened(nowhere):
        pass
    assert not nowhere.data_dir.exists()
    DiskBlobs(tmp_path / "empty")
    with (
        pytest.raises(BadSettings, match="inductory serve"),
        opened(StoreSettings(data_dir=tmp_path / "empty")),
    ):
        pass


def test_a_frame_of_unknown_content_is_measured_within_bounds() -> None:
    data = bytes(10 << 20) + WHOLE
    packed = pack(data)
    chunks = [packed[at : at + 100] for at in range(0, len(packed), 100)]
    assert measured(chunks, len(data)) == (digest_of(data), len(data), len(packed))
    with pytest.raises(TooLarge, match="more than"):
        measured(chunks, len(data) - 1)
    for broken in ([packed[:-1]], [packed, b"more"], [b"nonsense"], []):
        with pytest.raises(Corrupt, match="zstd frame"):
            measured(broken, len(data))


@pytest.fixture
def command(
    settings: StoreSettings,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    for name, text in environ.items():
        monkeypatch.setenv(name, text)

    def run(*arguments: str) -> tuple[int, str]:
        code = main([*arguments, "--data-dir", str(settings.data_dir)])
        return code, capsys.readouterr().out

    return run


@pytest.mark.usefixtures("spoiled")
def test_the_commands_say_what_they_found_and_did(command: Callable[..., tuple[int, str]]) -> None:
    code, text = command("scrub")
    assert code == 1
    assert f"{digest_of(LOST)}  promised, and not there" in text
    assert "inductory repair" in text
    code, text = command("repair")
    assert code == 1
    assert "asked of the next publisher" in text
    code, text = command("scrub", "--json")
    found = json.loads(text)["found"]
    assert code == 1
    assert [(each["what"], each["repaired"]) for each in found] == [("foreign", False)]


def test_a_well_store_exits_well(command: Callable[..., tuple[int, str]]) -> None:
    code, text = command("scrub")
    assert code == 0
    assert "Every promise holds." in text
