"""A dispatch travels as its pieces do: published, pulled, pushed after an outage, verified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from client_samples import TARGET, client, dispatched, publication, wanted
from inductory_client.cli.main import main
from inductory_client.client import Client
from inductory_client.publication import Publication
from msgspec.structs import replace
from store_process import StoreProcess

PUBLISHED = dispatched(publication("a", "b"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config"


def has_all(node: Client) -> bool:
    """Whether a node has pieces and dispatch without moving a byte for them."""
    fetched = node.fetch(wanted(*PUBLISHED.artifacts), TARGET)
    return len(fetched.pieces) == 3 and fetched.bytes_moved == 0


def test_a_bundle_brings_pieces_and_dispatch(tmp_path: Path, config: Path) -> None:
    with StoreProcess(tmp_path / "store") as store:
        with client(tmp_path / "builder", url=store.url, config_dir=config) as builder:
            report = builder.publisher.publish_now(PUBLISHED)
        assert (report.created, report.build) == (3, PUBLISHED.build and PUBLISHED.build.key)
        places = {"url": store.url, "config_dir": config, "store_deadline_s": 60.0}
        with client(tmp_path / "node", build=report.build, **places) as node:
            assert has_all(node)


def test_a_dispatch_that_comes_later_joins_its_graphs_entry(tmp_path: Path, config: Path) -> None:
    """A capture publishes pieces and manifest; what dispatches it is made, and published, afterwards."""
    plain = publication("a", "b")
    later = Publication(artifacts=PUBLISHED.artifacts[-1:], build=PUBLISHED.build)
    with (
        StoreProcess(tmp_path / "store") as store,
        client(tmp_path / "builder", url=store.url, config_dir=config) as builder,
    ):
        builder.publisher.publish_now(plain)
        report = builder.publisher.publish_now(later)
        assert (report.created, report.manifest) == (1, None)
        assert report.build is not None
        build = builder.reach_store().get_build(report.build)
    assert plain.build is not None
    assert PUBLISHED.build is not None
    assert build == replace(plain.build, entries=plain.build.entries + PUBLISHED.build.entries)


@pytest.mark.parametrize("apart", [False, True])
def test_what_an_outage_kept_here_is_pushed(
    tmp_path: Path, config: Path, apart: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = publication("a", "b")
    later = Publication(artifacts=PUBLISHED.artifacts[-1:], build=PUBLISHED.build)
    with client(tmp_path / "builder", config_dir=config) as builder:
        for each in (plain, later) if apart else (PUBLISHED,):
            builder.publisher.publish_now(each)
    with StoreProcess(tmp_path / "store") as store:
        places = ["--url", store.url, "--config-dir", str(config)]
        cache = ["--cache-dir", str(tmp_path / "builder" / "cache")]
        assert main(["push", *places, *cache]) == 0
        assert PUBLISHED.build is not None
        key = PUBLISHED.build.key
        assert main(["pull", key, *places, "--cache-dir", str(tmp_path / "node" / "cache")]) == 0
        capsys.readouterr()
        assert main(["verify", "--store", key, *places, *cache, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["artifacts"] == 3
    with client(tmp_path / "node", config_dir=config) as node:
        assert has_all(node)
