"""A build's bundle is pulled beside the start, once a machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from client_samples import TARGET, client, draft, publication, wanted
from inductory_client.contract.errors import DeadlineExceeded
from inductory_client.trouble import forget_warnings
from misbehaving import Misbehaving, silent
from store_process import StoreProcess

LONG_S = 60.0
NAMES = ("a", "b")
WANTED = wanted(*(draft(name) for name in NAMES))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config"


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


def publish(folder: Path, config: Path, url: str) -> str:
    with client(folder / "builder", url=url, config_dir=config) as builder:
        report = builder.publisher.publish_now(publication(*NAMES))
    assert report.build is not None
    return report.build


def test_a_start_finds_what_the_prefetch_brought(tmp_path: Path, config: Path) -> None:
    with StoreProcess(tmp_path / "store") as store:
        build = publish(tmp_path, config, store.url)
        places = {"url": store.url, "config_dir": config, "build": build, "store_deadline_s": LONG_S}
        with client(tmp_path / "node", **places) as node:
            fetched = node.fetch(WANTED, TARGET)
    assert (len(fetched.pieces), fetched.error) == (2, None)
    assert fetched.bytes_moved == 0, "the bundle brought it all"

    with Misbehaving(silent) as server:
        with client(tmp_path / "node", **{**places, "url": server.url}) as restarted:
            restarted.prefetch()
            fetched = restarted.fetch(WANTED, TARGET)
            assert len(fetched.pieces) == 2
            assert restarted.cas.build(build) is not None
        pulls = [request for request in server.asked if b"/bundle" in request]
        assert pulls == [], "a machine that has the build doesn't pull it again"

        digest = next(iter(fetched.pieces.values())).artifact.subject.loaded[0].digest
        (tmp_path / "node" / "cache" / "cas" / "sha256" / digest[:2] / digest).unlink()
        assert restarted.cas.build(build) is None


def test_a_prefetch_that_hangs_costs_the_budget_and_no_more(tmp_path: Path, config: Path) -> None:
    with Misbehaving(silent) as server:
        with client(tmp_path / "builder", config_dir=config) as builder:
            builder.publisher.publish_now(publication("a"))
        places = {"url": server.url, "config_dir": config, "build": "ab" * 32, "store_deadline_s": 0.2}
        with client(tmp_path / "builder", **places) as node:
            assert len(node.fetch(wanted(draft("a")), TARGET).pieces) == 1, "what is here waits for nothing"
            fetched = node.fetch(WANTED, TARGET)
            assert len(fetched.pieces) == 1
            assert isinstance(fetched.error, DeadlineExceeded)
            assert any(b":resolve" in request for request in server.asked), "a part of it is kept to resolve"


def test_who_closed_its_client_is_not_warned_afterwards(
    tmp_path: Path, config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Misbehaving(silent) as server:
        places = {"url": server.url, "config_dir": config, "build": "ab" * 32, "store_deadline_s": 0.2}
        with client(tmp_path / "node", **places) as node:
            node.prefetch()
    node.wait_for_prefetch("ab" * 32, LONG_S)
    assert "the build isn't pulled" not in caplog.text


def test_an_unknown_build_is_warned_about_and_resolved_instead(
    tmp_path: Path, config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with StoreProcess(tmp_path / "store") as store:
        publish(tmp_path, config, store.url)
        places = {"url": store.url, "config_dir": config, "build": "ab" * 32, "store_deadline_s": LONG_S}
        with client(tmp_path / "node", **places) as node:
            fetched = node.fetch(WANTED, TARGET)
    assert len(fetched.pieces) == 2
    assert "the build isn't pulled" in caplog.text


def test_a_build_that_grew_is_pulled_again(tmp_path: Path, config: Path) -> None:
    with StoreProcess(tmp_path / "store") as store:
        build = publish(tmp_path, config, store.url)
        places = {"url": store.url, "config_dir": config, "build": build, "store_deadline_s": LONG_S}
        with client(tmp_path / "node", **places) as node:
            node.fetch(WANTED, TARGET)
        with client(tmp_path / "builder", url=store.url, config_dir=config) as builder:
            builder.publisher.publish_now(publication("c"))
        with client(tmp_path / "node", **places) as restarted:
            fetched = restarted.fetch(wanted(draft("c")), TARGET)
            assert (len(fetched.pieces), fetched.bytes_moved) == (1, 0), "the bundle brought it"
