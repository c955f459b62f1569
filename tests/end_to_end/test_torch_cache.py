"""Stock torch.compile with its remote caches served by the store: hits are counted by what torch counts."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from client_samples import client
from inductory_client.cas import LocalCas
from inductory_client.contract.wire import Artifact
from inductory_client.foreign import ForeignCache
from misbehaving import Misbehaving, silent
from torch_machine import Machine, Ran

SERVE = "import inductory_client; inductory_client.serve_torch_caches()"
SCENES = ("product", "in_a_thread", "training", "kernel")
PLACE = {"INDUCTORY_NAMESPACE": "torch-cache"}


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory, store_url: str) -> Machine:
    return Machine(tmp_path_factory.mktemp("builder"), store_url, environ=PLACE)


@pytest.fixture(scope="module")
def built(builder: Machine) -> Ran:
    """All scenes compiled and published by a process that changed nothing but one line."""
    ran = builder.run("stock", *SCENES, code=SERVE)
    assert ran.warnings == []
    return ran


def node(folder: Path, builder: Machine, **environ: str) -> Machine:
    return Machine(folder, builder.url, trusts=(builder.public_key,), environ={**PLACE, **environ})


def was_served(result: dict[str, Any]) -> bool:
    """Whether torch found all that it looked for."""
    misses = result["autograd_misses"] + result["graph_misses"]
    return bool(result["close"] and result["autograd_hits"] and result["graph_hits"] and not misses)


def was_compiled(result: dict[str, Any]) -> bool:
    hits = result["autograd_hits"] + result["graph_hits"]
    return bool(result["close"] and result["autograd_misses"] and result["graph_misses"] and not hits)


def entries_of(builder: Machine) -> list[Artifact]:
    """The artifacts that a builder published of torch's entries."""
    return list(LocalCas(builder.cache, 1 << 30).artifacts())


def test_a_node_with_empty_caches_gets_what_another_compiled(
    tmp_path: Path, builder: Machine, built: Ran
) -> None:
    assert all(was_compiled(built.results[name]) for name in SCENES), built.results
    ran = node(tmp_path, builder).run("stock", *SCENES, code=SERVE)
    assert all(was_served(ran.results[name]) for name in SCENES), ran.results
    assert ran.results["training"]["graph_hits"] == 2, "forward and backward"
    for name in ("product", "in_a_thread", "kernel"):
        assert ran.results[name]["fingerprint"] == built.results[name]["fingerprint"]
    assert ran.warnings == []
    names = {blob.name for entry in entries_of(builder) for blob in entry.subject.descriptors}
    assert names == {"data", "rest.json"}, "what torch pickled travels, and not the text that it makes of it"


def test_a_program_that_changes_nothing_is_served_by_its_environment(
    tmp_path: Path, builder: Machine, built: Ran
) -> None:
    """torch calls what installed packages name: here a package of the test's, with the same entry point."""
    metadata = tmp_path / "site" / "inductory_autoload_test-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: inductory-autoload-test\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[torch.backends]\ninductory_test = inductory_client.integrations.torch_autoload:autoload\n"
    )
    path = os.pathsep.join(filter(None, (str(metadata.parent), os.environ.get("PYTHONPATH"))))
    nothing_early = "import torch; assert not {'torch._inductor', 'torch._dynamo'} & set(sys.modules)"
    environ = {"PYTHONPATH": path, "INDUCTORY_TORCH_CACHE": "1"}
    ran = node(tmp_path, builder, **environ).run("stock", "product", code=nothing_early)
    assert was_served(ran.results["product"])


def test_another_instruction_set_is_a_miss_that_says_so(tmp_path: Path, builder: Machine, built: Ran) -> None:
    """torch's keys are the same, and what they name would load and compute NaN."""
    other = node(tmp_path, builder, ATEN_CPU_CAPABILITY="default")
    ran = other.run("stock", "product", "mega_cache", code=SERVE)
    assert was_compiled(ran.results["product"])
    assert ran.results["mega_cache"]["loaded"] is None
    (told,) = [line for line in ran.warnings if "the nearest artifact differs in" in line]
    assert "cpu.capability: DEFAULT here" in told


class _Planted:
    """Unpickling it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_what_nobody_trusted_signed_is_never_unpickled(tmp_path: Path, builder: Machine, built: Ran) -> None:
    proof = tmp_path / "proof"
    data = pickle.dumps(_Planted(proof))
    pickle.loads(data)
    proof.rmdir()  # it works
    files = {"data": data, "rest.json": json.dumps({"time_taken_ms": 1}).encode()}
    with client(tmp_path / "stranger", url=builder.url, namespace="torch-cache-planted") as stranger:
        for artifact in entries_of(builder):
            assert artifact.subject.scheme_key is not None
            target = artifact.subject.target
            cache = ForeignCache(client=stranger, scheme="inductor", backend="inductor", target=target)
            assert cache.offer(artifact.subject.scheme_key, files)
        assert stranger.publisher.drain(30)
    attacked = node(tmp_path / "node", builder, INDUCTORY_NAMESPACE="torch-cache-planted")
    ran = attacked.run("stock", "product", code=SERVE)
    assert was_compiled(ran.results["product"])
    assert not proof.exists()
    (told,) = [line for line in ran.warnings if "refused" in line]
    assert "isn't trusted here" in told


def test_a_store_that_hangs_costs_its_deadline_and_nothing_else(tmp_path: Path) -> None:
    with Misbehaving(silent) as store:
        ran = Machine(tmp_path, store.url).run(
            "stock", "product", "in_a_thread", code=SERVE,
            INDUCTORY_STORE_DEADLINE_S="0.5", INDUCTORY_PUBLISH="0",
        )  # fmt: skip
    assert all(was_compiled(ran.results[name]) for name in ("product", "in_a_thread"))
    assert len([line for line in ran.warnings if "isn't used for now" in line]) == 1
    asked = [request for request in store.asked if b"artifacts:resolve" in request]
    assert len(asked) == 1, "four questions, and one wait"
