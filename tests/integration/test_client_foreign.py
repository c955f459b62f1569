"""Entries of other caches go through the store and come back whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from client_samples import TARGET, client
from inductory_client.client import Client
from inductory_client.contract.digest import digest_of
from inductory_client.contract.target import Target
from inductory_client.foreign import ForeignCache
from inductory_client.misses import KeyParts
from inductory_client.trouble import forget_warnings

KIN = digest_of(b"a model")


def cache(of: Client, **changes: object) -> ForeignCache:
    fields = {"scheme": "triton", "backend": "triton", "target": TARGET} | changes
    return ForeignCache(client=of, **fields)  # type: ignore[arg-type]


def test_an_entry_comes_back_whole_on_another_node(tmp_path: Path, store_url: str) -> None:
    files = {"kernel.cubin": b"\x7fELF" * 50, "kernel.json": b'{"name": "kernel"}', "empty": b""}
    place = {"url": store_url, "namespace": "foreign", "config_dir": tmp_path / "config"}
    with client(tmp_path / "builder", **place) as builder:
        assert cache(builder).offer("key one", files, compile_seconds=0.5)
        assert cache(builder).offer("k" * 2000, {"long": b"key"})
        assert builder.publisher.drain(30)
        assert cache(builder).fetch(["key one"]) == {"key one": files}, "it is kept here, too"
    with client(tmp_path / "node", **place) as node:
        found = cache(node).fetch(["key one", "k" * 2000, "another"])
        assert found == {"key one": files, "k" * 2000: {"long": b"key"}}
        assert cache(node, scheme="inductor").fetch(["key one"]) == {}, "another scheme's keys are others"
        assert cache(node).fetch([]) == {}


def test_files_that_cannot_be_made_cost_their_entry_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forget_warnings()

    def gone() -> dict[str, bytes]:
        raise FileNotFoundError("somebody removed the folder")

    with client(tmp_path / "builder") as builder:
        entries = cache(builder)
        assert entries.offer_later("first", gone, 0)
        assert entries.offer_later("second", lambda: {"file": b"made later"}, 0)
        assert builder.publisher.drain(30)
        assert entries.fetch(["first", "second"]) == {"second": {"file": b"made later"}}
    assert [
        record.getMessage() for record in caplog.records if "somebody removed" in record.getMessage()
    ] == ["something compiled isn't published: somebody removed the folder"]


def test_a_miss_names_the_nearest_entry_of_the_same_kin(
    tmp_path: Path, store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    forget_warnings()
    place = {"url": store_url, "namespace": "foreign-kin", "config_dir": tmp_path / "config"}
    with client(tmp_path / "builder", **place) as builder:
        cache(builder).offer("one", {"model": b"bytes"}, kin=KIN)
        assert builder.publisher.drain(30)
        key = cache(builder).artifact_key("one")
    other = Target({**TARGET.factors, "torch.version": "2.14.0"})
    with client(tmp_path / "node", **place) as node:
        assert cache(node, target=other).fetch(["one"], kin=KIN, shape=8) == {}
        (noted,) = node.misses.read().noted
        missed, nearest = noted.missed, noted.missed.nearest
        assert noted.target == other
        assert missed.parts == KeyParts(scheme="triton", scheme_key="one", shape=8, backend="triton")
        assert nearest is not None
        assert nearest.key == key
        assert [each.name for each in nearest.differences] == ["torch.version"]
    assert "torch.version" in caplog.text


@pytest.mark.parametrize("changes", [{"scheme": "inductor"}, {"backend": "another"}])
def test_an_entry_of_another_scheme_or_backend_is_no_kin(
    tmp_path: Path, store_url: str, changes: dict[str, object]
) -> None:
    place = {"url": store_url, "namespace": "foreign-apart", "config_dir": tmp_path / "config"}
    with client(tmp_path / "node", **place) as node:
        cache(node).offer("one", {"model": b"bytes"}, kin=KIN)
        assert node.publisher.drain(30)
        assert cache(node, **changes).fetch(["one"], kin=KIN) == {}
        (noted,) = node.misses.read().noted
        assert noted.missed.nearest is None
