"""What is used near the nodes isn't taken for unused upstream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import UpstreamUnavailable
from inductory_client.contract.lifetime import Kind
from inductory_store.app import create_app
from inductory_store.operations import note_uses as noting
from inductory_store.operations.collect import collect
from inductory_store.operations.note_uses import note_uses
from inductory_store.serve import migrate, opened
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from inductory_store.upstream.exchange import Exchange
from inductory_store.upstream.telling import tell_uses
from inductory_store.uses import Use
from lifetimes import DAY, keep_days, publish
from replicas import wait_until
from s3_proxy import S3Proxy
from store_process import StoreProcess

KINDS: tuple[Kind, ...] = ("artifact", "manifest", "build")


@pytest.fixture
def settings(tmp_path: Path) -> StoreSettings:
    """Upstream's, which forgets what wasn't used for a month."""
    settings = StoreSettings.load({}, data_dir=tmp_path / "upstream")
    migrate(settings)
    return settings


@pytest.fixture
def published(settings: StoreSettings) -> dict[Kind, str]:
    """What was published there more than a month ago."""
    with opened(settings) as store:
        old = replace(store, clock=lambda: time.time() - 40 * DAY)
        names = publish(old, "old")
        keep_days(old, 30)
    return dict(zip(KINDS, names, strict=True))


@contextmanager
def telling(settings: StoreSettings) -> Iterator[Exchange]:
    """The way to upstream, while it runs."""
    with StoreProcess(settings.data_dir) as upstream, closing(Exchange(upstream.url, 5)) as exchange:
        yield exchange


def unused(settings: StoreSettings) -> set[str]:
    with opened(settings) as store:
        return {each.key for each in collect(store, time.time(), dry_run=True).names[0].condemn}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_told_stays_with_all_that_it_names(
    settings: StoreSettings, published: dict[Kind, str], kind: Kind
) -> None:
    assert unused(settings) == set(published.values())
    gone = Use("build", "default", digest_of(b"deleted upstream"))
    absent = Use("artifact", "elsewhere", digest_of(b"never there"))
    with telling(settings) as exchange:
        tell_uses(exchange, [gone, Use(kind, "default", published[kind]), absent])
    assert published["artifact"] not in unused(settings)
    assert published[kind] not in unused(settings)


def test_a_store_that_pulls_tells_of_what_is_used_there(
    settings: StoreSettings, published: dict[Kind, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noting, "NOTE_EVERY_S", 0.01)
    with StoreProcess(settings.data_dir) as upstream, S3Proxy(upstream.url) as way:
        near = StoreSettings.load({}, data_dir=tmp_path / "near", upstream_url=way.url)
        migrate(near)
        with TestClient(create_app(near)) as client:
            path = f"/v1/builds/{published['build']}"
            assert client.get(f"{path}/bundle").status_code == 200
            # Once to have it, and once to tell.
            wait_until(lambda: sum(each.path.startswith(path) for each in way.seen) > 1)
    assert unused(settings) == set()


def test_what_could_not_be_told_is_told_when_it_is_used_again(
    settings: StoreSettings, published: dict[Kind, str]
) -> None:
    told: list[set[Use]] = []

    def away(_: set[Use]) -> None:
        raise UpstreamUnavailable("it is away")

    with opened(settings) as store:
        use_all(store, published)
        with pytest.raises(UpstreamUnavailable):
            note_uses(store, away)
        assert unused(settings) == set(), "here it is noted"
        note_uses(store, told.append)
        use_all(store, published)
        note_uses(store, told.append)
        use_all(store, published)
        note_uses(store, told.append)
    assert told == [{Use(kind, "default", key) for kind, key in published.items()}], "once in six hours"


def use_all(store: Store, published: dict[Kind, str]) -> None:
    for kind, key in published.items():
        store.uses.add(kind, "default", [key])
