"""Roots and rules of namespaces, over HTTP and from a shell."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator

import pytest
from inductory_client.cli.main import main
from inductory_client.contract import wire
from inductory_client.contract.digest import digest_of
from inductory_client.contract.lifetime import (
    Retention,
    RetentionKept,
    Root,
    RootPage,
    RootStored,
    RootWanted,
)
from store_messages import Talk, build, manifest, problem

NOBODY = digest_of(b"nobody's")


@pytest.fixture
def talk(any_store_url: str) -> Iterator[Talk]:
    talk = Talk(any_store_url, f"roots-{uuid.uuid4().hex[:12]}")
    yield talk
    talk.http.close()


@pytest.fixture
def names(talk: Talk) -> dict[str, str]:
    """A build, its manifest and its artifact, by kind."""
    value = talk.publish(b"payload", talk.namespace)
    captured = manifest([value])
    assert talk.put_manifest(captured).is_success
    start = build([captured], talk.namespace, "a model")
    assert talk.put_build(start).is_success
    return {"artifact": value.key, "build": start.key, "manifest": captured.id}


def put_root(talk: Talk, kind: str, key: str, **fields: object) -> tuple[int, RootStored]:
    wanted = RootWanted(**fields)  # type: ignore[arg-type]
    answer = talk.http.put(f"/v1/roots/{kind}/{key}", content=wire.encode(wanted))
    assert answer.is_success, answer.text
    return answer.status_code, wire.decode(answer.content, RootStored)


def roots(talk: Talk, **query: object) -> RootPage:
    return wire.decode(talk.http.get("/v1/roots", params=query).content, RootPage)  # type: ignore[arg-type]


def test_roots_are_kept_listed_in_pages_and_removed(talk: Talk, names: dict[str, str]) -> None:
    for kind, key in names.items():
        status, stored = put_root(talk, kind, key, label=f"a {kind}")
        assert (status, stored.created, stored.root.label) == (201, True, f"a {kind}")
    assert [root.kind for root in roots(talk).roots] == ["artifact", "build", "manifest"]
    page = roots(talk, limit=2)
    assert len(page.roots) == 2
    assert [root.kind for root in roots(talk, cursor=page.next).roots] == ["manifest"]
    answer = talk.http.delete(f"/v1/roots/build/{names['build']}")
    assert wire.decode(answer.content, Root).label == "a build"
    problem(talk.http.delete(f"/v1/roots/build/{names['build']}"), 404, "not_found")
    assert [root.kind for root in roots(talk).roots] == ["artifact", "manifest"]


def test_a_root_that_is_there_gets_another_label_and_expiry(talk: Talk, names: dict[str, str]) -> None:
    _, first = put_root(talk, "build", names["build"], label="for now", expires_in_s=60)
    assert first.root.expires_at is not None
    status, second = put_root(talk, "build", names["build"], label="for good")
    assert (status, second.created) == (200, False)
    assert (second.root.label, second.root.expires_at) == ("for good", None)
    assert second.root.created_at == first.root.created_at
    assert roots(talk).roots == (second.root,)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"build/{NOBODY}", 404, "not_found"),
        (f"blob/{NOBODY}", 400, "malformed"),
        ("build/nonsense", 400, "malformed"),
    ],
)
def test_what_makes_no_sense_is_refused(talk: Talk, path: str, status: int, code: str) -> None:
    problem(talk.http.put(f"/v1/roots/{path}", content=b"{}"), status, code)
    problem(talk.http.delete(f"/v1/roots/{path}"), status, code)


@pytest.mark.parametrize("body", [b'{"expires_in_s":0}', b'{"expires":1}', b'{"label":7}', b"nonsense"])
def test_a_message_that_makes_no_sense_is_refused(talk: Talk, names: dict[str, str], body: bytes) -> None:
    problem(talk.http.put(f"/v1/roots/build/{names['build']}", content=body), 400, "malformed")
    assert roots(talk).roots == ()


def test_a_root_of_another_namespace_is_none_here(talk: Talk, names: dict[str, str]) -> None:
    other = Talk(talk.url, f"{talk.namespace}-other")
    problem(other.http.put(f"/v1/roots/build/{names['build']}", content=b"{}"), 404, "not_found")
    put_root(talk, "build", names["build"])
    assert roots(other).roots == ()
    problem(other.http.delete(f"/v1/roots/build/{names['build']}"), 404, "not_found")
    other.http.close()


@pytest.mark.usefixtures("names")
def test_a_rule_is_nothing_until_it_is_set(talk: Talk) -> None:
    kept = wire.decode(talk.http.get("/v1/retention").content, RetentionKept)
    assert kept.retention == Retention()
    assert kept.used_bytes > 0
    value = Retention(unused_days=90, bytes_max=1 << 40)
    answer = talk.http.put("/v1/retention", content=wire.encode(value))
    assert wire.decode(answer.content, RetentionKept).retention == value
    assert wire.decode(talk.http.get("/v1/retention").content, RetentionKept).retention == value
    for body in (b'{"unused_days":0}', b'{"bytes_max":-1}', b'{"days":1}'):
        problem(talk.http.put("/v1/retention", content=body), 400, "malformed")


@pytest.fixture
def command(talk: Talk, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*words: str) -> tuple[int, str]:
        code = main([*words, f"--url={talk.url}", f"--namespace={talk.namespace}"])
        return code, capsys.readouterr().out

    return run


def test_roots_from_a_shell(command: Callable[..., tuple[int, str]], names: dict[str, str]) -> None:
    assert command("roots") == (0, "there are no roots\n")
    code, text = command("roots", "add", "build", "a model", "--label", "in production", "--expires", "30d")
    assert (code, f"build {names['build']} is kept until 2" in text) == (0, True)
    code, text = command("roots", "add", "artifact", names["artifact"], "--json")
    assert (code, json.loads(text)["root"]["expires_at"]) == (0, None)
    code, text = command("roots", "list", "--json")
    assert [root["label"] for root in json.loads(text)["roots"]] == ["", "in production"]
    code, text = command("roots")
    assert (code, "in production" in text) == (0, True)
    assert command("roots", "remove", "build", names["build"])[0] == 0
    assert command("roots", "remove", "build", names["build"])[0] == 1
    assert command("roots", "add", "manifest", NOBODY)[0] == 1


@pytest.mark.parametrize(
    "words",
    [
        ["add"],
        ["add", "build"],
        ["add", "artifact", "nonsense"],
        ["add", "artifact", NOBODY, "--expires", "soon"],
        ["add", "artifact", NOBODY, "--expires", "0d"],
        ["remove", "artifact", NOBODY, "--label", "why"],
        ["list", "build"],
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    command: Callable[..., tuple[int, str]], words: list[str]
) -> None:
    assert command("roots", *words)[0] == 2


def test_rules_from_a_shell(command: Callable[..., tuple[int, str]]) -> None:
    code, text = command("retention")
    assert (code, "for ever" in text, "as much as there is" in text) == (0, True, True)
    code, text = command("retention", "--unused-days", "90", "--json")
    assert json.loads(text)["retention"] == {"unused_days": 90, "bytes_max": None}
    code, text = command("retention", "--bytes-max", "2G", "--json")
    assert json.loads(text)["retention"] == {"unused_days": 90, "bytes_max": 2 << 30}
    code, text = command("retention", "--unused-days", "none")
    assert (code, "for ever" in text, "at most 2.0 GiB" in text) == (0, True, True)
    for words in (["--unused-days", "0"], ["--bytes-max", "much"]):
        assert command("retention", *words)[0] == 2
