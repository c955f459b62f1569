"""The prefetch begins before torch is imported, and what it brought is found by whoever fetches later.

Programs run in processes of their own. Order is shown by events: an audit hook sees torch's import begin, and
the store is gone before anything is fetched, so that a request for a blob would fail.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from client_samples import TARGET, client, draft, publication, wanted
from inductory_client.contract.errors import BadSettings
from inductory_client.shared import prefetch, shared_client
from misbehaving import Misbehaving, silent
from store_process import StoreProcess

NAMES = ("a", "b")

# Tells which of our threads run when torch's import begins, and ends there: nobody needs torch for that.
WATCHED = """
import os, sys, threading

def watch(event, arguments):
    if event == "import" and arguments[0] == "torch":
        print(*(thread.name for thread in threading.enumerate()), flush=True)
        os._exit(0)

sys.addaudithook(watch)
"""
WAYS = {
    "the first line": "import inductory_client; inductory_client.prefetch()",
    "inductory's load": "from inductory_client import load",
    "the module that torch's entry point names": "import inductory_client.integrations.torch_backend",
}

FETCHED = """
import json, sys
import inductory_client

inductory_client.prefetch()
from inductory_client.contract.target import Target
from inductory_client.contract.wire import ArtifactWanted
from inductory_client.settings import Settings
from inductory_client.shared import shared_client

client = shared_client(Settings.load(model="a label", on_miss="error"))
(prefetch,) = client._prefetches.values()
assert prefetch._done.wait(60)
print("prefetched", flush=True)
sys.stdin.readline()
wanted = [ArtifactWanted(key=key) for key in json.loads(sys.argv[1])]
fetched = client.fetch(wanted, Target(json.loads(sys.argv[2])))
print(json.dumps([len(fetched.pieces), fetched.bytes_moved, fetched.error and fetched.error.code]))
"""


def environ(folder: Path, url: str, build: str) -> dict[str, str]:
    places = {f"INDUCTORY_{kind.upper()}_DIR": str(folder / kind) for kind in ("cache", "config")}
    asked = {"INDUCTORY_URL": url, "INDUCTORY_BUILD": build, "INDUCTORY_STORE_DEADLINE_S": "60"}
    return places | asked


def publish(folder: Path, url: str, **labels: Any) -> str:
    with client(folder, url=url) as machine:
        build = machine.publisher.publish_now(publication(*NAMES, **labels)).build
    assert build is not None
    return build


@pytest.mark.parametrize("way", WAYS)
def test_the_thread_begins_before_torch_is_imported(tmp_path: Path, way: str) -> None:
    code = f"{WATCHED}\n{WAYS[way]}\nassert 'torch' not in sys.modules\nimport torch"
    with Misbehaving(silent) as server:
        process = subprocess.run(
            [sys.executable, "-c", code],
            env=environ(tmp_path, server.url, "ab" * 32),
            check=True,
            capture_output=True,
            text=True,
        )
    assert "inductory-prefetch" in process.stdout.split()


def test_what_it_brought_is_not_asked_for_again(tmp_path: Path) -> None:
    keys = json.dumps([each.key for each in wanted(*map(draft, NAMES))])
    with StoreProcess(tmp_path / "store") as store:
        build = publish(tmp_path / "builder", store.url)
        trusted = {"INDUCTORY_TRUSTED_KEYS": str(tmp_path / "builder" / "config" / "key.pub")}
        with subprocess.Popen(
            [sys.executable, "-c", FETCHED, keys, json.dumps(TARGET.factors)],
            env=environ(tmp_path / "node", store.url, build) | trusted,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "prefetched\n"
            store.kill()
            told, _ = process.communicate("\n", timeout=60)
    assert json.loads(told) == [2, 0, None]


def test_settings_that_a_client_does_not_act_on_share_it(tmp_path: Path) -> None:
    with client(tmp_path) as node:
        alike = shared_client(node.settings)
        labels = {"model": "a label", "component": "draft", "build": "ab" * 32}
        other = client(tmp_path, on_miss="error", reproducible=True, disabled=True, **labels)
        assert shared_client(other.settings) is alike
        assert shared_client(client(tmp_path, namespace="other").settings) is not alike
        alike.close()
        assert shared_client(node.settings) is not alike, "what is closed isn't given out"


def test_the_last_build_of_a_label_is_prefetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreProcess(tmp_path / "store") as store:
        for label in ("first", "second"):
            build = publish(tmp_path / "builder", store.url, model=label)
        with client(tmp_path / "node", url=store.url, build="last", model="second") as node:
            assert node.build_of(node.settings) is None, "nothing was used here yet"
            trusted = tmp_path / "builder" / "config" / "key.pub"
        places = {"url": store.url, "trusted_keys": [trusted]}
        with client(tmp_path / "node", **places) as node:
            node.pull_build(build)
        for settings, found in (({"model": "second"}, build), ({"model": "first"}, None), ({}, None)):
            with client(tmp_path / "node", build="last", **places, **settings) as node:
                assert node.build_of(node.settings) == found
        with client(tmp_path / "builder", build="last", model="second", disabled=True) as node:
            assert node.build_of(node.settings) is None
        with client(tmp_path / "builder", build="last", model="second", **places) as node:
            assert node.build_of(node.settings) == build, "what was published was used"
            fetched = node.fetch(wanted(*map(draft, NAMES)), TARGET)
    assert len(fetched.pieces) == 2


def test_a_misspelt_option_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="did you mean build"):
        prefetch(biuld="last")


def test_a_way_in_is_open_whatever_the_environment_says(tmp_path: Path) -> None:
    code = "import inductory_client.integrations.torch_backend"
    subprocess.run(
        [sys.executable, "-c", code],
        env=environ(tmp_path, "http://127.0.0.1:9", "no build"),
        check=True,
    )
