"""Artifacts for a GPU that are damaged, foreign or asked too much of, and sessions that find them.

Runs where there is a GPU as far as anybody can tell: see `gpu_program`.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from client_samples import settings
from gpu_absent import AbsentGpus
from gpu_cases import CASES, form_of
from inductory_client.contract.descriptor import NATIVE, PAYLOAD
from inductory_client.contract.target import Target
from inductory_client.contract.wire import encode
from inductory_client.graph import torch_private
from inductory_client.graph.captured import capture
from inductory_client.graph.kernel_file import Kernel
from inductory_client.graph.load import load_piece
from inductory_client.graph.session import Session
from inductory_client.publication import Draft, DraftBlob
from inductory_compiler.normalise import normalise
from inductory_compiler.pieces import compile_pieces
from inductory_compiler.rebuild import rebuild
from torch_sessions import Node, warned

CASE = "total"
"""Two kernels, so that one of them may be missing."""

Change = Callable[[Draft], Draft]


def kernel(draft: Draft, change: Callable[[bytes], bytes | None]) -> Draft:
    """A draft whose first kernel is changed, or left out."""
    first = next(blob for blob in draft.blobs if blob.media_type == NATIVE)
    data = change(first.data)
    others = tuple(blob for blob in draft.blobs if blob is not first)
    changed = () if data is None else (DraftBlob(NATIVE, first.name, data),)
    return msgspec.structs.replace(draft, blobs=(*changed, *others))


def fields(draft: Draft, **changes: Any) -> Draft:
    """A draft whose first kernel says other things of itself."""

    def change(data: bytes) -> bytes:
        return msgspec.msgpack.encode(msgspec.msgpack.decode(data) | changes)

    return kernel(draft, change)


def short(draft: Draft) -> Draft:
    """Machine code without its end."""

    def change(data: bytes) -> bytes:
        found = msgspec.msgpack.decode(data, type=Kernel)
        return msgspec.msgpack.encode(msgspec.structs.replace(found, cubin=found.cubin[:-100]))

    return kernel(draft, change)


def entry(draft: Draft, change: Callable[[Any], object], whole: bool = True) -> Draft:
    """A draft whose payload is changed once it is unpickled; if `whole`, it is normalised again."""

    def changed(blob: DraftBlob) -> DraftBlob:
        if blob.media_type != PAYLOAD:
            return blob
        found = torch_private.unpickle_entry(blob.data)
        change(torch_private.compiled_graphs(found)[0])
        return DraftBlob(PAYLOAD, "", normalise(found) if whole else pickle.dumps(found))

    return msgspec.structs.replace(draft, blobs=tuple(changed(blob) for blob in draft.blobs))


def source(old: str, new: str) -> Change:
    def change(graph: Any) -> None:
        assert old in graph.source_code
        graph.source_code = graph.source_code.replace(old, new)

    return lambda draft: entry(draft, change)


def requires(**versions: str) -> Change:
    wanted = {name.replace("_", "."): version for name, version in versions.items()}
    return lambda draft: msgspec.structs.replace(draft, requires=wanted)


DAMAGE: dict[str, Change] = {
    "whole": lambda draft: draft,
    "machine code cut short": short,
    "no machine code": lambda draft: fields(draft, cubin=b""),
    "machine code of another kernel": lambda draft: fields(draft, name="triton_other"),
    "a kernel's file cut short": lambda draft: kernel(draft, lambda data: data[:-100]),
    "a kernel's file that isn't one": lambda draft: kernel(draft, lambda data: b"junk"),
    "a kernel's file of another version": lambda draft: fields(draft, version=2),
    "a kernel's file with more in it": lambda draft: fields(draft, more=1),
    "too few types": lambda draft: fields(draft, types="O"),
    "no warps": lambda draft: fields(draft, warps=0),
    "a grid that isn't one": lambda draft: fields(draft, grid=["1 +", "1", "1"]),
    "a kernel missing": lambda draft: kernel(draft, lambda data: None),
    "a newer driver needed": requires(cuda_driver="14.0"),
    "something unknown needed": requires(cuda_nvlink="4.0"),
    "constants": lambda draft: entry(draft, lambda graph: graph.constants.update(c=torch.ones(2))),
    "several GPUs": lambda draft: entry(draft, lambda graph: graph.device_idxs.update((0, 1)), whole=False),
    "source for several GPUs": source("torch.cuda.set_device(0)", "torch.cuda.set_device(1)"),
    "an index from a variable": source("torch.cuda.set_device(0)", "torch.cuda.set_device(len(args))"),
}

FACTORS = {
    "cuda.capability": "8.0",
    "cuda.multiprocessors": "114",
    "cuda.device": "NVIDIA H100",
    "cuda.version": "12.8",
    "triton.key": "0" * 64,
    "triton.ptxas": "12.4",
}


def start(node: Node, driver: AbsentGpus) -> dict[str, Any]:
    """Compile a case's graph in a new session, on the current GPU, and run it."""
    rebuilt = rebuild(form_of(CASE), torch.cuda.current_device())
    session = Session(settings(node.folder, drain_s=60.0, reproducible=True))
    try:
        with warned() as warnings:
            call = session.compile_graph(rebuilt.module, rebuilt.inputs, {})
            driver.launches.clear()
            call(*CASES[CASE].inputs(64))
    finally:
        session.client.close()
    (report,) = session.reports
    return {
        "outcome": report.outcome,
        "hits": report.hits,
        "compiled": report.compiled,
        "reason": report.reason,
        "warnings": list(warnings),
        "launches": [dataclasses.asdict(launch) for launch in driver.launches],
    }


@contextmanager
def environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before


def start_all(driver: AbsentGpus, folder: Path) -> dict[str, Any]:
    """Start once for each damage; return what became of it, by name."""
    from inductory_client.graph.reproducible import PATCHES

    rebuilt = rebuild(form_of(CASE), 0)
    graph = capture(rebuilt.module, rebuilt.inputs, options=PATCHES)
    (result,) = compile_pieces(graph.unique, graph.target, PATCHES, graph.options, graph.device).values()
    draft = result.draft

    def fresh() -> Node:
        return Node(Path(tempfile.mkdtemp(dir=folder)))

    def kept(change: Change) -> dict[str, Any]:
        node = fresh()
        node.keep(change(draft))
        return start(node, driver)

    found = {"nothing": start(fresh(), driver)}
    found |= {name: kept(change) for name, change in DAMAGE.items()}
    for version in ("12080", None):
        with environment("ABSENT_CUDA_DRIVER", version):
            found[f"a driver of {version}"] = kept(lambda draft: draft)
    for factor, value in FACTORS.items():
        found[factor] = start(foreign(fresh(), draft, factor, value), driver)
    with torch.cuda.device(1):
        found["another GPU"] = kept(lambda draft: draft)
        found["nothing, on another GPU"] = start(fresh(), driver)
    found["a GPU that isn't there"] = {"warnings": [elsewhere(draft)]}
    return found


def foreign(node: Node, draft: Draft, factor: str, value: str) -> Node:
    """A machine that has, under the key that is asked for, what was signed for another target."""
    target = Target({**draft.target.factors, factor: value})
    (artifact,) = node.keep(msgspec.structs.replace(draft, target=target))
    record = node.record_path(draft.subject.key)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_bytes(encode(artifact))
    return node


def elsewhere(draft: Draft) -> str:
    blobs = {blob.descriptor.digest: blob.data for blob in draft.blobs}
    try:
        load_piece(draft.subject, blobs, draft.target, 5)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
