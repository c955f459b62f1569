"""A dispatch is used whole and trusted, or not at all: whatever is wrong with it, the call is captured."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from client_samples import settings
from inductory_client.cas import LocalCas
from inductory_client.client import Client
from inductory_client.contract.descriptor import LOADABLE_DISPATCH
from inductory_client.contract.errors import BadSettings, PieceMissing
from inductory_client.contract.key import DISPATCH_BACKEND
from inductory_client.contract.wire import Artifact
from inductory_client.graph.dispatch.container import MAGIC, VERSION, pack, unpack
from inductory_client.publication import Draft, DraftBlob, Publication
from msgspec.structs import replace
from torch_dispatch import Package, published, same, started, values


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path / "source")


@pytest.fixture
def machine(package: Package, tmp_path: Path) -> Path:
    folder = tmp_path / "machine"
    published(package, folder)
    return folder


def artifacts(machine: Path) -> list[Artifact]:
    return list(LocalCas(machine / "cache", 1 << 30).artifacts())


def dispatch(machine: Path) -> Artifact:
    (found,) = (item for item in artifacts(machine) if item.subject.backend == DISPATCH_BACKEND)
    return found


def blob_path(machine: Path, digest: str) -> Path:
    return machine / "cache" / "cas" / "sha256" / digest[:2] / digest


def captures(package: Package, machine: Path, **options: Any) -> list[str]:
    """Start; whatever is wrong, the numbers are right and the call was captured. Return the warnings."""
    model = package.model()
    with started(model, machine, **options) as start:
        assert same(start.forward(values()), model(values()))
        assert start.captured == [True]
        return start.warnings


def resign(machine: Path, change: Callable[[bytes], bytes]) -> None:
    """Put another content under the dispatch's key, signed by this machine."""
    artifact = dispatch(machine)
    data = blob_path(machine, artifact.subject.loaded[0].digest).read_bytes()[:-16]
    subject = artifact.subject
    draft = Draft(
        blobs=(DraftBlob(LOADABLE_DISPATCH, "", change(data)),),
        shape=subject.shape,
        backend=subject.backend,
        graph_digest=subject.graph_digest,
        options=subject.options,
        target=subject.target,
        provenance=artifact.provenance,
    )
    with Client(settings(machine)) as client:
        client.publisher.keep(Publication(artifacts=(draft,)))


def test_a_damaged_dispatch_is_refused(package: Package, machine: Path) -> None:
    path = blob_path(machine, dispatch(machine).subject.loaded[0].digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    captures(package, machine)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data[: len(data) // 3], "LoadFailed|Error"),
        (lambda data: data[:20], "version that is known"),
        (lambda data: b"", "version that is known"),
        (lambda data: b"other" + data, "version that is known"),
        (lambda data: data.replace(b'"version":%d' % VERSION, b'"version":9'), "version 9"),
        (lambda data: data.replace(b'"part:0"', b'"part:9"'), "KeyError|malformed"),
        (lambda data: data.replace(b'"sources":', b'"source_s":', 1), "header"),
    ],
)  # fmt: skip
def test_a_dispatch_that_makes_no_sense_is_refused(
    package: Package, machine: Path, change: Callable[[bytes], bytes], told: str
) -> None:
    resign(machine, change)
    warnings = captures(package, machine)
    assert any(re.search(told, text) for text in warnings), warnings


def test_a_custom_op_with_another_schema_is_told(package: Package, machine: Path) -> None:
    """The op is there under its name: what it was captured with is in the header, and isn't what it is."""
    torch.library.define("inductory_dispatch_tests::op", "(Tensor x) -> Tensor")
    there = "op:inductory_dispatch_tests::op.default|inductory_dispatch_tests::op(Tensor x, int n) -> Tensor"

    def with_operator(data: bytes) -> bytes:
        header, payload = unpack(data)
        return pack(replace(header, operators=(there,)), payload)

    resign(machine, with_operator)
    warnings = captures(package, machine)
    assert any("another schema" in text for text in warnings), warnings


def test_nothing_is_unpickled_before_the_sources_are_compared(package: Package, machine: Path) -> None:
    """A pickle that would write a file, behind a header whose sources don't fit."""
    mark = machine / "ran"

    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(mark),)

    def planted(data: bytes) -> bytes:
        length = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "big")
        return data[: len(MAGIC) + 4 + length] + pickle.dumps(Bomb())

    resign(machine, planted)
    package.edit(package.helper, "alpha=alpha", "alpha=1 * alpha")
    captures(package, machine)
    assert not mark.exists()


def test_a_dispatch_of_an_untrusted_signer_is_refused(package: Package, machine: Path) -> None:
    for name in ("key.pem", "key.pub"):
        (machine / "config" / name).unlink()
    captures(package, machine)


def test_a_dispatch_without_one_of_its_pieces_is_refused(package: Package, machine: Path) -> None:
    pieces = [item for item in artifacts(machine) if item.subject.backend != DISPATCH_BACKEND]
    LocalCas(machine / "cache", 1 << 30).drop_artifact(pieces[0].key)
    warnings = captures(package, machine)
    assert any("aren't to be had" in text for text in warnings), warnings


def test_a_damaged_piece_is_told_and_compiled(package: Package, machine: Path) -> None:
    pieces = [item for item in artifacts(machine) if item.subject.backend != DISPATCH_BACKEND]
    blob_path(machine, pieces[-1].subject.loaded[0].digest).write_bytes(b"nothing of it")
    captures(package, machine)


def test_without_anything_published_and_no_compiling_it_says_what_is_missing(
    package: Package, tmp_path: Path
) -> None:
    with started(package.model(), tmp_path / "empty", on_miss="error") as start, pytest.raises(PieceMissing):
        start.forward(values())


def test_under_the_policy_error_what_is_published_is_loaded(package: Package, machine: Path) -> None:
    with started(package.model(), machine, on_miss="error") as start:
        start.forward(values())
        assert start.captured == [False]


def test_disabled_it_is_stock(package: Package, machine: Path) -> None:
    model = package.model()
    with started(model, machine, disabled=True) as start:
        assert same(start.forward(values()), model(values()))
        assert [report.outcome for report in start.reports] == ["stock"]


def test_a_model_that_breaks_the_graph_runs_and_is_told_once(package: Package, tmp_path: Path) -> None:
    package.edit(
        package.name, "        for layer in", "        torch._dynamo.graph_break()\n        for layer in"
    )
    model = package.model()
    with started(model, tmp_path / "machine") as start:
        for tokens in (6, 7):
            assert same(start.forward(values(tokens=tokens)), model(values(tokens=tokens)))
        assert sum("as torch.compile does" in text for text in start.warnings) == 1


def test_the_models_own_error_is_raised(package: Package, machine: Path) -> None:
    with started(package.model(), machine) as start:
        with pytest.raises(TypeError, match="positional"):
            start.forward(values(), None)
        start.forward(values())
        assert start.captured[-1] is False


def test_a_forward_of_the_instances_own_is_refused(package: Package, tmp_path: Path) -> None:
    model = package.model()
    model.forward = lambda x: x
    with pytest.raises(BadSettings, match="forward of its own"), started(model, tmp_path / "machine"):
        pass


def test_threads_that_come_at_once_load_it_once(package: Package, machine: Path) -> None:
    model = package.model()
    expected = model(values())
    found: list[bool] = []
    with started(model, machine) as start:
        ready = threading.Barrier(6)

        def call() -> None:
            ready.wait()
            with torch.no_grad():
                found.append(same(start.forward(values()), expected))

        threads = [threading.Thread(target=call) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 6
        assert start.captured == [False]


FORKING = """
import os, sys
from pathlib import Path
from torch_dispatch import Package, published, same, started, values

package, folder = Package(Path(sys.argv[1])), Path(sys.argv[2])
published(package, folder)
model = package.model()
with started(model, folder) as start:
    start.forward._lock.__enter__()  # as if another thread of the parent were loading just now
    child = os.fork()
    if child == 0:
        status = 1
        try:
            good = same(start.forward(values()), model(values()))
            status = 0 if good and start.captured == [False] else 2
        finally:
            os._exit(status)
    start.forward._lock.__exit__()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_loads_and_runs_it(tmp_path: Path) -> None:
    """In a process with one thread: OpenMP's own don't live on in a child."""
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        FORKING,
        str(tmp_path / "source"),
        str(tmp_path / "machine"),
    ]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
