"""A start of torch that misses is explained on its node, once it has compiled and published for itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from inductory_client.cli.main import main
from torch_machine import Machine


def test_another_number_of_threads_is_named(
    store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = {"INDUCTORY_NAMESPACE": "torch-explain"}
    builder = Machine(tmp_path / "builder", store_url, environ=namespace)
    assert builder.run("case", "graph_break", OMP_NUM_THREADS="1").compiled
    node = Machine(tmp_path / "node", store_url, (builder.public_key,), environ=namespace)
    ran = node.run("case", "graph_break", OMP_NUM_THREADS="2")
    assert ran.compiled
    words = [f"--url={store_url}", "--namespace=torch-explain", f"--cache-dir={node.cache}"]
    assert main(["explain", "--json", *words, f"--config-dir={tmp_path / 'node' / 'config'}"]) == 0
    told = json.loads(capsys.readouterr().out)["misses"]
    assert {each["key"] for each in told} == {key for keys in ran.keys for key in keys}
    for each in told:
        assert each["there"]["trusted"], "this node has compiled and published it meanwhile"
        assert each["nearest"] != each["key"]
        assert each["parts"]["backend"] == "inductor"
        (difference,) = each["differences"]
        assert (difference["name"], difference["ours"], difference["theirs"]) == ("cpu.threads", "2", "1")
        assert difference["volatile"]
    assert main(["lookup", "--builds", "--json", *words[:2]]) == 0
    builds = json.loads(capsys.readouterr().out)["builds"]
    assert {each["model"] for each in told} <= {build["model"] for build in builds} | {""}
