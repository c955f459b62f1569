"""What many ask is answered from memory, before routes look at it, and worked out anew in time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from inductory_client.contract import wire
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_store.app import create_app
from inductory_store.kept_answers import KEPT_S
from inductory_store.routes import artifacts
from inductory_store.serve import migrate
from inductory_store.settings import StoreSettings
from store_messages import artifact, descriptor

DATA = b"payload" * 20
VALUE = artifact([descriptor(DATA)])
RESOLVE = "/v1/artifacts:resolve"


class Answering:
    """A store in this process, whose memory has the test's clock, and how often it worked an answer out."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.now = 0.0
        self.worked_out = 0

    def asks(self, address: str = RESOLVE, *, chunked: bool = False) -> wire.Resolved:
        asked = wire.encode(wire.Resolve(artifacts=(wire.ArtifactWanted(key=VALUE.key),)))
        content = iter([asked[:9], asked[9:]]) if chunked else asked
        answer = self.client.post(address, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200, answer.text
        return wire.decode(answer.content, wire.Resolved)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    settings = StoreSettings.load({}, data_dir=tmp_path)
    migrate(settings)
    app = create_app(settings)
    with TestClient(app) as client:
        answering = Answering(client)
        monkeypatch.setattr(app.state.store.answers, "_clock", lambda: answering.now)

        def counted(*arguments: Any) -> Any:
            answering.worked_out += 1
            return resolve(*arguments)

        resolve = artifacts.resolve
        monkeypatch.setattr(artifacts, "resolve", counted)
        yield answering


def publish(store: Answering) -> None:
    headers = {"Content-Encoding": "zstd", wire.SIZE_HEADER: str(len(DATA))}
    put = store.client.put(f"/v1/blobs/{digest_of(DATA)}", content=pack(DATA), headers=headers)
    assert put.status_code == 201
    headers = {"Content-Type": "application/json"}
    put = store.client.put(f"/v1/artifacts/{VALUE.key}", content=wire.encode(VALUE), headers=headers)
    assert put.status_code == 201


def test_it_is_worked_out_once_and_anew_when_it_is_old(store: Answering) -> None:
    publish(store)
    first = store.asks()
    assert first.hits == (VALUE,)
    for _ in range(3):
        assert store.asks() == first
    assert store.worked_out == 1
    store.now += KEPT_S
    for _ in range(3):
        assert store.asks() == first
    assert store.worked_out == 2


def test_each_namespace_has_its_own(store: Answering) -> None:
    publish(store)
    assert store.asks(f"{RESOLVE}?namespace=default").hits == (VALUE,)
    assert store.asks().hits == (VALUE,), "which is the one that isn't named"
    assert store.worked_out == 1
    assert store.asks(f"{RESOLVE}?namespace=another").hits == ()
    assert store.asks(f"{RESOLVE}?namespace=another").misses[0].key == VALUE.key
    assert store.worked_out == 3, "a miss is no answer to keep"


@pytest.mark.parametrize("address", [f"{RESOLVE}?namespace=%64efault", f"{RESOLVE}?namespace=default&"])
def test_what_is_spelt_otherwise_is_answered_alike(store: Answering, address: str) -> None:
    publish(store)
    assert store.asks() == store.asks(address) == store.asks(address)
    assert store.worked_out == 1


def test_a_question_of_unsaid_length_is_answered_alike(store: Answering) -> None:
    publish(store)
    assert store.asks(chunked=True) == store.asks() == store.asks(chunked=True)
    assert store.worked_out == 1


@pytest.mark.parametrize("namespace", ["UPPER", "-x", "a" * 65, "a/b"])
def test_a_namespace_that_is_none_is_refused(store: Answering, namespace: str) -> None:
    asked = wire.encode(wire.Resolve(artifacts=()))
    headers = {"Content-Type": "application/json"}
    answer = store.client.post(f"{RESOLVE}?namespace={namespace}", content=asked, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed"
