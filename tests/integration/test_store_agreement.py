"""The store shows whether builders made the same bytes of a key, and what differed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_samples import client, draft
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from inductory_client.cli.main import main
from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.descriptor import NATIVE, PYTHON
from inductory_client.contract.digest import digest_of
from inductory_client.publication import DraftBlob, Publication
from store_messages import Talk, artifact, descriptor, problem
from store_process import Database, StoreProcess


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory, module_database: Database) -> Iterator[str]:
    """A store of this module's own: the samples are sent by others too, who count what is sent."""
    with StoreProcess(tmp_path_factory.mktemp("store") / "data", module_database) as store:
        yield store.url


@pytest.fixture
def talk(store_url: str, request: pytest.FixtureRequest) -> Iterator[Talk]:
    """A namespace of its own for each test."""
    talk = Talk(store_url, "agreement-" + digest_of(request.node.name.encode())[:12])
    yield talk
    talk.http.close()


def publish(talk: Talk, kernel: bytes, source: bytes, compile_seconds: float = 1.0) -> Artifact:
    """Publish one key, of a builder with a key of its own."""
    parts = ((b"payload", "application/vnd.inductory.payload.v1", ""), (kernel, NATIVE, "triton_add"))
    for data, _, _ in (*parts, (source, PYTHON, "")):
        talk.put_blob(data)
    descriptors = [descriptor(*part) for part in (*parts, (source, PYTHON, "output_code.py"))]
    value = artifact(descriptors, key=Ed25519PrivateKey.generate(), compile_seconds=compile_seconds)
    assert talk.put_artifact(value).is_success
    return value


def agreement(talk: Talk, key: str) -> wire.Agreement:
    answer = talk.http.get(f"/v1/artifacts/{key}/agreement")
    assert answer.status_code == 200, answer.text
    return wire.decode(answer.content, wire.Agreement)


def test_who_made_what_differently(talk: Talk) -> None:
    first = publish(talk, b"kernel", b"source")
    equal = publish(talk, b"kernel", b"source")
    other = publish(talk, b"another kernel", b"another source")
    for again in (first, equal, other, other):
        talk.put_artifact(again)
    found = agreement(talk, first.key)
    assert (found.signer, found.builder) == (first.signature.signer, "tests")
    assert (found.reproduced, found.different) == (1, 1), "the same push again is counted once"
    told = {each.signer: str(each.comparison) for each in found.repeats}
    assert told == {
        equal.signature.signer: "",
        other.signature.signer: "native file triton_add, source output_code.py",
    }
    problem(talk.http.get(f"/v1/artifacts/{'00' * 32}/agreement"), 404, "not_found")


def test_the_lookup_finds_what_builders_disagree_on(talk: Talk) -> None:
    talk.publish(b"alone", "another graph")
    first = publish(talk, b"kernel", b"source")

    def counts(**query: str) -> list[tuple[str, int, int]]:
        page = wire.decode(talk.http.get("/v1/artifacts", params=query).content, wire.LookupPage)
        return [(each.artifact, each.reproduced, each.different) for each in page.entries]

    assert counts(disagreed="true") == []
    publish(talk, b"kernel", b"source")
    publish(talk, b"kernel", b"another source")
    assert counts(disagreed="true") == [(first.key, 1, 1)]
    assert len(counts()) == len(counts(disagreed="false")) == 2
    stats = wire.decode(talk.http.get("/v1/stats").content, wire.Stats)
    assert (stats.artifacts, stats.agreed, stats.disagreed) == (2, 0, 1)


def test_the_page_shows_what_differs(tmp_path: Path, database: Database) -> None:
    with StoreProcess(tmp_path / "store", database) as store:
        talk = Talk(store.url, "default")
        first = publish(talk, b"kernel", b"source")
        assert "disagree" not in talk.http.get("/").text
        publish(talk, b"kernel", b"source")
        assert "builders agree on 1 artifacts and differ on 0" in talk.http.get("/").text
        other = publish(talk, b"another <kernel>", b"source")
        page = talk.http.get("/").text
        talk.http.close()
    assert "Where builders disagree" in page
    assert f"/v1/artifacts/{first.key}/agreement?namespace=default" in page
    assert "native file triton_add" in page
    assert other.signature.signer[:12] in page


def test_commands_show_it_too(talk: Talk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--url", talk.url, "--namespace", talk.namespace]
    machines = {}
    for name, source in (("first", b"one"), ("second", b"another"), ("third", b"one")):
        blobs = (*draft().blobs[:-1], DraftBlob(PYTHON, "output_code.py", source))
        with client(tmp_path / name, url=talk.url, namespace=talk.namespace) as machine:
            machines[name] = machine.signing_key().signer
            report = machine.publisher.publish_now(Publication(artifacts=(draft(blobs=blobs),)))
        assert (report.created, report.different, report.reproduced) == {
            "first": (1, 0, 0),
            "second": (0, 1, 0),
            "third": (0, 0, 1),
        }[name]
    key = draft().subject.key
    assert main(["lookup", key, *places]) == 0
    shown = capsys.readouterr().out
    assert "made again: 1 equal, 1 different" in shown
    assert f"{machines['second'][:12]}  test" in shown
    assert "source output_code.py" in shown
    assert main(["lookup", key, *places, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["artifact"]["subject"]["graph_digest"] == digest_of(b"a")
    assert told["agreement"]["signer"] == machines["first"]
    assert main(["lookup", "--disagreed", *places]) == 0
    assert "1 of 2" in capsys.readouterr().out
    here = [*places, "--cache-dir", str(tmp_path), "--config-dir", str(tmp_path)]
    assert main(["status", "--json", *here]) == 0
    counts = json.loads(capsys.readouterr().out)["store"]
    assert (counts["agreed"], counts["disagreed"], counts["dispatches"]) == (0, 1, 0)
    assert main(["status", *here]) == 0
    assert "builders agree on 0 artifacts and differ on 1" in capsys.readouterr().out
    assert main(["lookup", key, "--disagreed", *places]) == 2
    assert main(["lookup", "abc", *places]) == 2
    assert main(["lookup", "00" * 32, *places]) == 1
