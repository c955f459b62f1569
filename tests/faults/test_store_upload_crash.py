"""`kill -9` at each step of sending what is large into a bucket: in parts, or by an address for clients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket import OwnBucket
from inductory_client.contract.digest import digest_of
from inductory_store.blobs.s3_leftovers import LEFT_SECONDS_MAX
from inductory_store.blobs.s3_pending import ADDRESS_S_MAX, SENDING_S_MAX
from inductory_store.serve import migrate, opened
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from killing import Job, Killer, large
from lifetimes import at_rest, check, is_there
from store_messages import artifact, descriptor


@pytest.fixture
def store(bucket: OwnBucket, tmp_path: Path) -> Iterator[tuple[Store, Killer]]:
    environ = {**bucket.environ, "INDUCTORY_STORE_S3_REDIRECT": "on"}
    settings = StoreSettings.load(environ, data_dir=tmp_path / "data")
    migrate(settings)
    with opened(settings) as store, Killer(settings.data_dir, environ) as killer:
        yield store, killer


@pytest.mark.parametrize(("what", "left_at_least"), [("publish large", 2), ("upload", 1)])
def test_killed_before_each_step_of_sending_what_is_large(
    store: tuple[Store, Killer], bucket: OwnBucket, what: str, left_at_least: int
) -> None:
    opened_store, killer = store
    killer.do(Job(what, "first", time.time()))
    whole = killer.do(Job(what, "whole", time.time())).steps
    requests = [each for each in whole if each.startswith("bucket: P")]
    assert len(requests) >= 4, "begun, two parts, completed"
    # What lies between two of these leaves the same behind.
    lasting = ("bucket", "put: at", "COMMIT")
    places = [at + 1 for at, each in enumerate(whole) if each.startswith(lasting)]
    unfinished: set[str] = set()
    for step in places:
        assert killer.do(Job(what, f"{step}", time.time(), step)).killed
        unfinished |= {*bucket.uploads(), *bucket.keys(f"{bucket.prefix}inductory-uploads/")}
    check(opened_store)
    assert len(unfinished) >= left_at_least, "else nothing was killed in the middle"

    for step in places[:: len(places) // 3]:
        assert not killer.do(Job(what, f"{step}", time.time())).killed, "whoever is next sends it again"
        assert is_there(opened_store, artifact([descriptor(large(f"{step}"))], f"{step}").key)
    opened_store.blobs.sweep_incoming(time.time() + max(LEFT_SECONDS_MAX, ADDRESS_S_MAX + SENDING_S_MAX) + 60)
    assert bucket.uploads() == []
    assert bucket.keys(f"{bucket.prefix}inductory-uploads/") == []
    check(opened_store)
    assert digest_of(large("whole")) in at_rest(opened_store)
