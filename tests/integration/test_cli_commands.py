"""The commands against a real store, each with exit code and JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from client_samples import client, draft, publication, settings
from inductory_client.cas import LocalCas
from inductory_client.cli.main import main
from inductory_client.client import Client
from inductory_client.publication import Publication
from misbehaving import Misbehaving, refused, silent
from store_process import StoreProcess

Json = dict[str, Any]
Command = Callable[..., tuple[int, Json]]


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store of this module's own: the samples are sent again and again, which others don't expect."""
    with StoreProcess(tmp_path_factory.mktemp("store") / "data") as store:
        yield store.url


@pytest.fixture
def namespace() -> str:
    return f"cli-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The folder of a machine's cache and keys."""
    return tmp_path / "machine"


@pytest.fixture
def inductory(store_url: str, namespace: str, machine: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command of a machine, and return its exit code and JSON."""

    def run(name: str, *words: str, at: Path = machine) -> tuple[int, Json]:
        places = [f"--{kind}-dir={at / kind}" for kind in ("cache", "config")]
        if name == "lookup":
            places = []
        code = main([name, *words, "--json", f"--url={store_url}", f"--namespace={namespace}", *places])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def publisher(store_url: str, namespace: str, machine: Path) -> Client:
    return client(machine, url=store_url, namespace=namespace)


def build_of(publisher: Client, *names: str, model: str = "a small model") -> str:
    """Publish and return the build's key."""
    sent = publication(*names, model=model, namespace=publisher.settings.namespace)
    key = publisher.publisher.publish_now(sent).build
    assert key is not None
    return key


def test_lookup_follows_the_pages(inductory: Command, publisher: Client) -> None:
    build = build_of(publisher, "a", "b", "c")
    code, found = inductory("lookup")
    assert (code, len(found["entries"]), found["more"]) == (0, 3, False)
    assert {entry["build"] for entry in found["entries"]} == {build}
    code, found = inductory("lookup", "--limit", "2")
    assert (code, len(found["entries"]), found["more"]) == (0, 2, True)
    code, found = inductory("lookup", "--shape", "1-16384", "--submodule-index", "1", "--backend", "inductor")
    assert [entry["submodule_index"] for entry in found["entries"]] == [1]
    assert inductory("lookup", "--model", "another")[0] == 1
    for words in (["--shape", "nonsense"], ["--submodule-index", "x"], ["--limit", "0"]):
        assert inductory("lookup", *words)[0] == 2


def test_lookup_lists_builds(
    inductory: Command, publisher: Client, store_url: str, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inductory("lookup", "--builds")[0] == 1
    first, second = (build_of(publisher, "a", model=model) for model in ("m1", "m2"))
    code, found = inductory("lookup", "--builds")
    assert (code, {build["key"] for build in found["builds"]}) == (0, {first, second})
    (build,) = inductory("lookup", "--builds", "--model", "m2")[1]["builds"]
    assert build["key"] == second
    assert inductory("lookup", "--builds", "--limit", "1")[1]["more"] is True
    assert main(["lookup", "--builds", "--model", "m1", "--url", store_url, "--namespace", namespace]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["BUILD", "MODEL"]
    assert row.split()[:2] == [first[:12], "m1"]


def test_lookup_is_a_table_for_people(
    publisher: Client, store_url: str, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    build = build_of(publisher, "a")
    assert main(["lookup", "--url", store_url, "--namespace", namespace]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["ARTIFACT", "SHAPE", "INDEX", "BACKEND"]
    assert row.split()[1:4] == ["1-16384", "0", "inductor"]
    assert build[:12] in row
    assert row.split()[-2:] == ["1.5", "s"]


def test_status_counts(inductory: Command, publisher: Client) -> None:
    code, found = inductory("status")
    assert (code, found["store"]["builds"], found["store"]["artifacts"]) == (0, 0, 0)
    assert found["trust"]["signer"] is None
    build_of(publisher, "a", "b")
    build_of(publisher, "b", "c", model="another model")
    code, found = inductory("status")
    assert (code, found["store"]["builds"], found["store"]["artifacts"]) == (0, 2, 3)
    assert found["cache"]["artifacts"] == 3
    assert found["trust"]["trusted"] == 1


def test_a_store_that_is_not_there(
    machine: Path, capsys: pytest.CaptureFixture[str], inductory: Command
) -> None:
    nowhere = "--url=http://127.0.0.1:9"
    assert main(["status", nowhere, f"--cache-dir={machine}", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["store"]["status"] == "unreachable"
    assert main(["lookup", nowhere]) == 3
    assert "inductory serve" in capsys.readouterr().err
    assert main(["lookup"]) == 2
    assert "INDUCTORY_URL" in capsys.readouterr().err


def test_pull_by_key_by_its_beginning_and_by_model(
    inductory: Command, publisher: Client, tmp_path: Path
) -> None:
    build = build_of(publisher, "a", "b", model="m1")
    other = tmp_path / "other"
    trusted = other / "config" / "trusted"
    trusted.mkdir(parents=True)
    (trusted / "p.pub").write_bytes((publisher.settings.config_dir / "key.pub").read_bytes())
    for name in (build, build[:10], "m1"):
        code, found = inductory("pull", name, at=other)
        assert (code, found["build"], found["artifacts"], found["refused"]) == (0, build, 2, {})
    assert len(list(LocalCas(other / "cache", 1 << 30).artifacts())) == 2
    build_of(publisher, "c", model="m1")  # the same label, but another graph of the same build
    assert inductory("pull", "m1", at=other)[1]["artifacts"] == 3
    assert inductory("pull", "nosuch", at=other)[0] == 1
    assert inductory("pull", "0" * 64, at=other)[0] == 1
    assert inductory("pull", at=other)[0] == 2
    assert inductory("pull", build, "--to", str(tmp_path), at=other)[0] == 2


def test_a_label_of_two_builds_is_a_question(inductory: Command, publisher: Client) -> None:
    sent = publication("a", model="twice", namespace=publisher.settings.namespace)
    assert sent.build is not None
    publisher.publisher.publish_now(sent)
    store = publisher.reach_store()
    other = msgspec.structs.replace(sent.build, config="0" * 64)
    store.put_build(other)
    code, found = inductory("pull", "twice")
    assert code == 2
    assert other.key in found["error"]["message"]


def test_what_nobody_trusted_signed_is_refused(inductory: Command, publisher: Client, tmp_path: Path) -> None:
    build = build_of(publisher, "a")
    code, found = inductory("pull", build, at=tmp_path / "stranger")
    assert (code, found["artifacts"], len(found["refused"])) == (4, 0, 1)
    code, found = inductory("verify", "--store", build, at=tmp_path / "stranger")
    assert code == 1
    assert "isn't trusted" in found["findings"][0]["what"]
    assert inductory("verify", "--store", build)[0] == 0


def test_verify_finds_and_repairs_damage(inductory: Command, publisher: Client, machine: Path) -> None:
    build_of(publisher, "a")
    assert inductory("verify", "--deep")[1]["findings"] == []
    record = next((machine / "cache" / "artifacts").rglob("*.json"))
    blob = next(path for path in (machine / "cache" / "cas").rglob("*") if path.is_file())
    for path in (record, blob):
        data = bytearray(path.read_bytes())
        data[3] ^= 1
        path.write_bytes(data)
    code, found = inductory("verify")
    assert (code, found["repaired"]) == (1, 0)
    assert {finding["name"] for finding in found["findings"]} == {record.stem, blob.name}
    code, found = inductory("verify", "--repair")
    assert (code, found["repaired"]) == (1, 2)
    assert not record.exists()
    assert not blob.exists()
    assert inductory("verify")[0] == 0


def test_push_sends_what_the_store_lacks(
    inductory: Command, machine: Path, store_url: str, namespace: str
) -> None:
    alone = client(machine)  # compiled with no store in reach
    alone.publisher.publish_now(publication(namespace, "b", namespace=namespace))
    code, found = inductory("push")
    assert (code, found["artifacts"], found["sent"], found["incomplete"]) == (0, 2, 2, 0)
    assert found["blob_bytes"] > 0
    code, found = inductory("push")
    assert (code, found["known"], found["sent"], found["blob_bytes"]) == (0, 2, 0, 0)
    store = client(machine, url=store_url, namespace=namespace).reach_store()
    assert store.get_artifact(draft(namespace).subject.key).subject == draft(namespace).subject


def test_push_sends_manifests_and_builds_too(
    inductory: Command, machine: Path, store_url: str, namespace: str, tmp_path: Path
) -> None:
    """After an outage the store has all that it would have had, so that others can pull the build."""
    alone = client(machine, namespace=namespace)
    first, second = (publication(name, "both", model=namespace, namespace=namespace) for name in ("p", "q"))
    for sent in (first, second, publication("r", namespace="elsewhere")):
        alone.publisher.publish_now(sent)
    code, found = inductory("push")
    assert (code, found["manifests"], found["builds"], found["refused"]) == (0, 2, 1, [])
    assert found["other_namespaces"] == 1
    assert first.build is not None
    store = client(machine, url=store_url, namespace=namespace).reach_store()
    assert len(store.get_build(first.build.key).entries) == 2, "two processes' graphs of one build"
    assert first.manifest is not None
    assert store.get_manifest(first.manifest.manifest.id) == first.manifest.manifest
    code, found = inductory("push")
    assert (code, found["manifests"], found["builds"], found["blobs_sent"]) == (0, 2, 1, 0)


def test_one_refused_record_does_not_end_a_push(inductory: Command, machine: Path, namespace: str) -> None:
    alone = client(machine)
    alone.publisher.publish_now(publication(namespace, namespace + "2", namespace=namespace))
    artifacts = {artifact.key: artifact for artifact in alone.cas.artifacts()}
    forged, other = (artifacts[key] for key in sorted(artifacts))
    alone.cas.put_artifact(msgspec.structs.replace(forged, signature=other.signature))
    code, found = inductory("push")
    assert (code, found["sent"], found["incomplete"]) == (4, 1, 1), "the manifest lacks an artifact"
    assert [refusal["name"] for refusal in found["refused"]] == [forged.key]


def test_push_says_what_is_not_whole_here(inductory: Command, machine: Path, namespace: str) -> None:
    sent = publication("incomplete", namespace=namespace)
    client(machine).publisher.publish_now(Publication(artifacts=sent.artifacts))
    cas = LocalCas(machine / "cache", 1 << 30)
    for descriptor in draft("incomplete").subject.descriptors:
        cas.drop_blob(descriptor.digest)
    code, found = inductory("push")
    assert (code, found["sent"], found["incomplete"]) == (0, 0, 1)
    client(machine).publisher.publish_now(sent)
    for descriptor in draft("incomplete").subject.descriptors:
        cas.drop_blob(descriptor.digest)
    assert inductory("push")[1]["incomplete"] == 2, "its manifest, too"


def test_push_says_whose_artifacts_the_store_keeps(
    inductory: Command, publisher: Client, machine: Path, tmp_path: Path
) -> None:
    build_of(publisher, "a")
    namespace = publisher.settings.namespace
    client(tmp_path / "second").publisher.publish_now(publication("a", namespace=namespace))
    code, found = inductory("push", at=tmp_path / "second")
    assert (code, found["known"], found["untrusted"]) == (0, 1, [publisher.signing_key().signer])
    assert inductory("push")[1]["untrusted"] == []


def test_push_asks_the_store_even_when_there_is_nothing_to_send(
    machine: Path, inductory: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"--cache-dir={machine}", f"--config-dir={machine}"]
    assert inductory("push", at=machine / "empty")[0] == 0
    with refused() as nowhere:
        assert main(["push", f"--url={nowhere}", *places]) == 3
    assert "every blob" not in capsys.readouterr().out


def test_the_doctor_is_content(inductory: Command, publisher: Client) -> None:
    build_of(publisher, "a")
    code, found = inductory("doctor")
    assert code == 0, found
    assert {check["name"]: check["state"] for check in found["checks"]}["store"] in ("ok", "warn")


def start(*words: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "inductory_client.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )


def test_serve_says_where_and_ends_cleanly(tmp_path: Path) -> None:
    with start("serve", "--port", "0", "--data-dir", str(tmp_path / "data")) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("inductory store: http://127.0.0.1:")
        assert main(["status", "--url", line.split()[-1], f"--config-dir={tmp_path}"]) == 0
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_serve_says_in_words_why_it_cannot(store_url: str, tmp_path: Path) -> None:
    port = store_url.rpartition(":")[2]
    with start("serve", "--port", port, "--data-dir", str(tmp_path / "data")) as process:
        _, errors = process.communicate()
    assert process.returncode == 2
    assert errors.startswith("inductory: can't listen on")


def test_ctrl_c_ends_a_command_at_once(tmp_path: Path) -> None:
    with (
        Misbehaving(silent) as store,
        start("status", "--url", store.url, "--config-dir", str(tmp_path), "-v") as process,
    ):
        assert process.stderr is not None
        assert process.stderr.readline().startswith("asking ")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == "inductory: interrupted\n"


def test_a_store_that_died_is_a_clear_ending(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StoreProcess(tmp_path / "data") as store:
        sent = client(tmp_path, url=store.url).publisher.publish_now(publication("a"))
        store.kill()
        assert main(["verify", "--store", sent.build or "", "--url", store.url]) == 3
    assert "Traceback" not in capsys.readouterr().err
    assert settings(tmp_path).cache_dir.is_dir()
