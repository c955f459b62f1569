"""Events roll up, and the first page shows them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from inductory_client.contract import wire
from inductory_client.contract.descriptor import PYTHON
from inductory_client.contract.manifest import BLUEPRINT
from store_messages import Talk, build, descriptor, manifest, problem
from store_process import Database, StoreProcess

VOID = {"meta", "link", "br", "rect"}


class Page(HTMLParser):
    """Reads a page strictly: what is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links.extend(text or "" for name, text in attrs if name in ("href", "src"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(" ".join(data.split()))

    def after(self, word: str) -> str:
        """What stands after a tile's name."""
        return self.words[self.words.index(word) + 1]


@pytest.fixture
def talk(tmp_path: Path, database: Database) -> Iterator[Talk]:
    """A store of its own: the page is about all of it."""
    with StoreProcess(tmp_path / "store", database) as store:
        talk = Talk(store.url, "default")
        yield talk
        talk.http.close()


def send(talk: Talk, *events: wire.Event) -> int:
    answer = talk.http.post("/v1/events", content=wire.encode(wire.Events(events=events)))
    assert answer.status_code == 200, answer.text
    return wire.decode(answer.content, wire.EventsStored).stored


def page(talk: Talk) -> Page:
    answer = talk.http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    return Page(answer.text)


def test_a_page_of_nothing(talk: Talk) -> None:
    found = page(talk)
    for tile in ("Builds", "Artifacts", "Hits", "Misses", "Effective hits"):
        assert found.after(tile) == "0"
    assert found.after("Compile time saved") == "0 s"
    assert "Nothing is published yet. Point a process here, and compile:" in found.words
    assert any(talk.url in word for word in found.words)


def test_the_page_shows_what_there_is_and_what_the_day_brought(talk: Talk) -> None:
    talk.put_blob(b"blueprint")
    piece = talk.publish(b"payload", compile_seconds=100.0)
    captured = manifest([piece], documents=(descriptor(b"blueprint", PYTHON, BLUEPRINT),))
    talk.put_manifest(captured)
    start = build([captured], "default", "<b>Qwen</b>/Qwen3")
    talk.put_build(start)
    now = time.time()
    yesterday, last_week = now - 25 * 3600, now - 7 * 86400
    assert (
        send(
            talk,
            wire.Event(kind="hit", at=now, count=1500),
            wire.Event(kind="miss", at=now - 3600, count=500),
            wire.Event(kind="load", at=now, count=36, artifact=piece.key),
            wire.Event(kind="load", at=now, count=4, artifact="00" * 32),
            wire.Event(kind="hit", at=yesterday, count=7),
            wire.Event(kind="hit", at=last_week, count=7),
        )
        == 6
    )
    found = page(talk)
    assert found.after("Builds") == "1"
    assert found.after("Artifacts") == "1"
    assert found.after("Hits") == "1,500"
    assert found.after("1,500") == "75 % of what was asked for"
    assert found.after("Misses") == "500"
    assert found.after("Effective hits") == "40"
    assert found.after("Compile time saved") == "1 h"
    assert "<b>Qwen</b>/Qwen3" in found.words
    assert found.tags.isdisjoint({"script", "img", "link", "iframe"})
    for link in found.links:
        assert link.startswith("/")
        assert talk.http.get(talk.url + link).status_code == 200, link
    assert f"/v1/builds/{start.key}/documents/{captured.id}/{BLUEPRINT}?namespace=default" in found.links


def test_what_is_older_than_what_is_kept_is_left_out(talk: Talk) -> None:
    assert send(talk, wire.Event(kind="hit", at=0.0), wire.Event(kind="hit", at=time.time())) == 1


@pytest.mark.parametrize(
    "event",
    [
        b'{"kind":"win","at":1}',
        b'{"kind":"hit","at":1,"count":0}',
        b'{"kind":"hit","at":-1}',
        b'{"kind":"hit","at":1,"color":"red"}',
        b'{"kind":"hit","at":NaN}',
        b'{"kind":"hit","at":1e999}',
    ],
)
def test_events_that_make_no_sense(store_url: str, event: bytes) -> None:
    talk = Talk(store_url, "events")
    problem(talk.http.post("/v1/events", content=b'{"events":[' + event + b"]}"), 400, "malformed")
    talk.http.close()
