"""`inductory explain`, against a real store: by key, by model, and of the last start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client_samples import TARGET, client, draft, publication, wanted
from inductory_client import client as client_module
from inductory_client.cli.main import main
from inductory_client.client import Client
from inductory_client.contract.target import Target
from inductory_client.foreign import ForeignCache
from inductory_client.misses import KeyParts
from inductory_client.publication import Publication
from store_process import StoreProcess

Json = dict[str, Any]
Explain = Callable[..., tuple[int, Json]]

HERE = Target({**TARGET.factors, "cpu.threads": "4", "vllm.env.VLLM_HOST_IP": "10.0.0.9"})
THERE = Target({**TARGET.factors, "cpu.threads": "8", "vllm.env.VLLM_HOST_IP": "10.0.0.7"})
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def place(store_url: str, tmp_path: Path) -> Json:
    """Settings of two machines that trust one key, in a namespace of the test's own."""
    return {
        "url": store_url,
        "namespace": f"explain-{uuid.uuid4().hex[:12]}",
        "config_dir": tmp_path / "config",
    }


@pytest.fixture
def builder(place: Json, tmp_path: Path) -> Client:
    return client(tmp_path / "builder", **place)


@pytest.fixture
def node(place: Json, tmp_path: Path) -> Client:
    return client(tmp_path / "node", **place, model="a small model")


@pytest.fixture
def words(place: Json, tmp_path: Path) -> list[str]:
    """The options that say where the node's things are."""
    return [
        f"--url={place['url']}",
        f"--namespace={place['namespace']}",
        f"--cache-dir={tmp_path / 'node' / 'cache'}",
        f"--config-dir={tmp_path / 'config'}",
    ]


@pytest.fixture
def explain(words: list[str], capsys: pytest.CaptureFixture[str]) -> Explain:
    """Run the command on the node, and return its exit code and JSON."""

    def run(*more: str) -> tuple[int, Json]:
        code = main(["explain", "--json", *words, *more])
        return code, json.loads(capsys.readouterr().out)

    return run


def publish(builder: Client, *names: str, target: Target = THERE, **changes: Any) -> list[str]:
    drafts = tuple(draft(name, target=target, **changes) for name in names)
    builder.publisher.publish_now(Publication(artifacts=drafts))
    return [each.subject.key for each in drafts]


def miss(node: Client, *names: str, target: Target = HERE, **changes: Any) -> list[str]:
    """Ask for artifacts as a start does, find none of them, and return their keys."""
    drafts = [draft(name, target=target, **changes) for name in names]
    parts = KeyParts(shape=drafts[0].shape, backend=drafts[0].backend, options=drafts[0].options)
    assert not node.fetch(wanted(*drafts), target, describe=lambda key: parts).pieces
    return [each.subject.key for each in drafts]


def named(miss: Json) -> list[tuple[str, bool]]:
    return [(each["name"], each["volatile"]) for each in miss["differences"]]


BOTH = [("cpu.threads", True), ("vllm.env.VLLM_HOST_IP", True)]


def test_a_miss_by_its_key(builder: Client, node: Client, explain: Explain, words: list[str]) -> None:
    (near,) = publish(builder, "a")
    (key,) = miss(node, "a")
    code, told = explain(key)
    (found,) = told["misses"]
    assert (code, found["key"], found["nearest"], found["there"]) == (0, key, near, None)
    assert (found["model"], found["parts"]["backend"], found["complete"]) == (
        "a small model",
        "inductor",
        True,
    )
    assert named(found) == BOTH
    assert (found["differences"][0]["ours"], found["differences"][0]["theirs"]) == ("4", "8")
    assert "OMP_NUM_THREADS" in found["differences"][0]["advice"]
    assert found["nearest_artifact"]["trusted"] is True


@pytest.mark.parametrize("columns", [80, 120])
def test_the_text_fits_the_terminal(builder: Client, node: Client, words: list[str], columns: int) -> None:
    publish(builder, "a")
    (key,) = miss(node, "a")
    command = [sys.executable, "-m", "inductory_client.cli.main", "explain", *words, key[:8]]
    run = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "COLUMNS": str(columns)}, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert all(len(line) <= columns for line in run.stdout.splitlines())
    text = " ".join(run.stdout.split())
    for part in (
        f"wanted {key}",
        "shape 1-16384",
        "model a small model",
        "The nearest differs in 2 factors, all volatile: cpu.threads, vllm.env.VLLM_HOST_IP.",
        "cpu.threads (volatile) here 4 there 8 -> Inductor",
        "vLLM hashes this variable: unset it, or set it alike on all nodes.",
    ):
        assert part in text


def test_a_beginning_will_do_and_two_that_begin_alike_are_told(
    builder: Client, node: Client, explain: Explain, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = miss(node, *(str(at) for at in range(5)))
    assert explain(keys[0][:8])[1]["misses"][0]["key"] == keys[0]
    code, told = explain(keys[0][:5])
    assert (code, told["error"]["code"]) == (2, "bad_settings")
    triton = ForeignCache(client=node, scheme="triton", backend="triton", target=HERE)
    triton.fetch(["kernel-one", "kernel-two"])
    assert explain("kernel-one")[1]["misses"][0]["parts"]["scheme_key"] == "kernel-one"
    code, told = explain("kernel-")
    assert code == 2
    assert "means 2 artifacts" in told["error"]["message"]


def test_an_unknown_key(explain: Explain, node: Client, builder: Client) -> None:
    for name in ("ab" * 32, "abcdef0"):
        code, told = explain(name)
        assert (code, told["error"]["code"]) == (1, "not_found")
    assert explain() == (0, {"misses": [], "store": {"url": node.settings.url, "error": None}})
    assert explain("ab" * 32, "--model", "m")[0] == 2


def test_what_is_there_and_was_never_missed(builder: Client, node: Client, explain: Explain) -> None:
    here, there = (publish(builder, "a", target=target)[0] for target in (HERE, THERE))
    code, told = explain(there)
    assert (code, told["differences"]) == (0, None), "this machine's target isn't known"
    miss(node, "b")
    code, told = explain(there)
    assert (code, [each["name"] for each in told["differences"]]) == (0, [name for name, _ in BOTH])
    assert told["artifact"]["subject"]["backend"] == "inductor"
    assert explain(here)[1]["differences"] == []
    assert node.fetch(wanted(draft("a", target=HERE)), HERE).pieces
    assert explain(here[:8])[0] == 0, "what lies here is found by its beginning"


def test_what_was_missed_and_is_there_by_now_is_explained_all_the_same(
    builder: Client, node: Client, explain: Explain, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The usual case: the node compiled and published what it missed."""
    (near,) = publish(builder, "a")
    (key,) = miss(node, "a")
    publish(node, "a", target=HERE)
    (found,) = explain(key)[1]["misses"]
    assert (found["nearest"], named(found)) == (near, BOTH)
    assert found["there"]["key"] == key
    assert node.fetch(wanted(draft("a", target=HERE)), HERE).pieces
    (found,) = explain(key)[1]["misses"]
    assert found["there"]["key"] == key
    assert main(["explain", *words]) == 0
    assert "1 key missed" in (text := capsys.readouterr().out)
    assert "1 of which is there now" in text


def test_what_was_new_has_nothing_near(
    node: Client, explain: Explain, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (key,) = miss(node, "a")
    publish(node, "a", target=HERE)
    (found,) = explain(key)[1]["misses"]
    assert (found["nearest"], found["differences"]) == (None, [])
    assert main(["explain", key, *words]) == 0
    assert "it was new" in " ".join(capsys.readouterr().out.split())


def test_options_and_shapes_that_differ(builder: Client, node: Client, explain: Explain) -> None:
    publish(builder, "a", options={"max_autotune": "true"}, shape=(1, 2048))
    (key,) = miss(node, "a", target=THERE, shape=(1, 8192))
    (found,) = explain(key)[1]["misses"]
    told = [(each["name"], each["ours"], each["theirs"]) for each in found["differences"]]
    assert told == [("shape", "1-8192", "1-2048"), ("option.max_autotune", None, "true")]


def test_more_than_the_store_tells_is_told(builder: Client, node: Client, explain: Explain) -> None:
    many = {f"inductor.setting{at:02}": "true" for at in range(30)}
    publish(builder, "a", target=Target({**THERE.factors, **many}))
    (key,) = miss(node, "a")
    (found,) = explain(key)[1]["misses"]
    assert (len(found["differences"]), found["complete"]) == (32, True)
    code, told = explain(key, f"--url={NOWHERE}")
    (found,) = told["misses"]
    assert (code, len(found["differences"]), found["complete"]) == (3, 10, False)


def test_a_model_and_the_builds_of_it(
    builder: Client,
    node: Client,
    explain: Explain,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    place: Json,
) -> None:
    publish(builder, "a", "b")
    builder.publisher.publish_now(publication("x", model="a small model", namespace=place["namespace"]))
    keys = miss(node, "a", "b") + miss(node, "new")
    with client(node.settings.cache_dir.parent, **place, model="another") as other:
        miss(other, "c")
    code, told = explain("--model", "a small model")
    assert (code, sorted(each["key"] for each in told["misses"])) == (0, sorted(keys))
    (build,) = told["builds"]
    assert build["build"]["model"] == "a small model"
    assert [each["name"] for each in build["differences"]] == [name for name, _ in BOTH]
    assert main(["explain", "--model", "a small model", *words]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "3 keys missed" in text
    assert text.index("2 keys of a small model") < text.index("1 key of a small model")
    assert text.count("OMP_NUM_THREADS") == 1, "what differs in the same is told once"
    assert build["build"]["key"][:12] in text
    code, told = explain("--model", "unheard of")
    assert (code, told["misses"], told["builds"]) == (1, [], [])


def test_without_a_name_it_is_the_last_start(
    node: Client, explain: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start in (1_000_000.0, 2_000_000.0):
        for name, after in (("a", 0.0), ("b", 800.0), ("c", 1600.0)):
            monkeypatch.setattr(client_module.time, "time", lambda at=start + after: at)
            miss(node, f"{name}{start}")
    monkeypatch.undo()
    at = [each["at"] for each in explain()[1]["misses"]]
    assert at == [2_000_000.0, 2_000_800.0, 2_001_600.0]


def test_a_store_that_is_away(
    builder: Client, node: Client, explain: Explain, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    publish(builder, "a")
    (key,) = miss(node, "a")
    code, told = explain(key, f"--url={NOWHERE}")
    assert (code, told["misses"][0]["nearest_artifact"]) == (3, None)
    assert named(told["misses"][0]) == BOTH, "as the store told it then"
    assert told["store"]["error"]
    assert explain("ab" * 32, f"--url={NOWHERE}")[0] == 3
    assert explain("--model", "a small model", f"--url={NOWHERE}")[0] == 3
    words = [word for word in words if not word.startswith("--url")]
    assert main(["explain", key, *words]) == 0
    assert "no store is set" in capsys.readouterr().err


def test_a_store_that_was_away_is_why(
    builder: Client, node: Client, explain: Explain, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with client(node.settings.cache_dir.parent, url=NOWHERE, namespace=node.settings.namespace) as cut_off:
        (key,) = miss(cut_off, "a")
    (near,) = publish(builder, "a")
    (found,) = explain(key)[1]["misses"]
    assert (found["reason"], found["nearest"]) == ("store_unavailable", near), "the store is asked now"
    publish(node, "b", target=THERE)
    with client(node.settings.cache_dir.parent, namespace=node.settings.namespace) as alone:
        (key,) = miss(alone, "b")
    words = [word for word in words if not word.startswith("--url")]
    assert main(["explain", "--json", key, *words]) == 0
    (found,) = json.loads(capsys.readouterr().out)["misses"]
    assert (found["reason"], named(found)) == ("no_store", BOTH), "what lies here is looked through"


def test_who_signed_it_may_be_why(
    node: Client,
    explain: Explain,
    tmp_path: Path,
    place: Json,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with client(tmp_path / "stranger", **{**place, "config_dir": tmp_path / "stranger"}) as stranger:
        (key,) = publish(stranger, "a", target=HERE)
    assert miss(node, "a") == [key]
    (found,) = explain(key)[1]["misses"]
    assert (found["reason"], found["there"]["trusted"]) == ("untrusted_signer", False)
    assert main(["explain", *words]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "which isn't trusted here" in text
    assert "inductory keygen" in text, "and what to do"


def test_damaged_notes_are_left_out_and_said(
    node: Client, explain: Explain, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (key,) = miss(node, "a")
    (path,) = (node.settings.cache_dir / "misses").rglob("*.jsonl")
    with path.open("ab") as file:
        file.write(b"\n\x00\xff nonsense\n{}")
    assert explain(key)[0] == 0
    assert main(["explain", key, *words]) == 0
    assert "2 notes of misses can't be read" in capsys.readouterr().err


def test_what_comes_from_elsewhere_does_not_steer_the_terminal(
    builder: Client, node: Client, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2Jgone\nwanted: nothing"
    publish(builder, "a", target=Target({**THERE.factors, evil: evil}), options={evil: evil})
    (key,) = miss(node, "a")
    assert main(["explain", key, *words]) == 0
    assert main(["explain", *words]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\nwanted: nothing" not in out


def test_a_description_that_fails_costs_no_fetch(node: Client, explain: Explain) -> None:
    def describe(key: str) -> KeyParts:
        raise ZeroDivisionError

    sample = draft("a", target=HERE)
    assert node.fetch(wanted(sample), HERE, describe=describe).misses
    assert explain()[1]["misses"] == []


def test_misses_of_another_namespace_are_left_out(node: Client, explain: Explain) -> None:
    (key,) = miss(node, "a")
    assert explain(key, "--namespace=another")[0] == 1


def test_the_last_releases_store_answers(
    release: dict[str, str], place: Json, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StoreProcess(tmp_path / "released", release) as store:
        place |= {"url": store.url}
        (near,) = publish(client(tmp_path / "builder", **place), "a")
        with client(tmp_path / "node", **place) as node:
            (key,) = miss(node, "a")
        words = [f"--url={store.url}", f"--namespace={place['namespace']}"]
        words += [f"--cache-dir={tmp_path / 'node' / 'cache'}", f"--config-dir={tmp_path / 'config'}"]
        assert main(["explain", "--json", key, *words]) == 0
    (found,) = json.loads(capsys.readouterr().out)["misses"]
    assert (found["nearest"], named(found)) == (near, BOTH)
