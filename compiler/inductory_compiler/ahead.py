"""Compiling ahead of time: a model's graphs, made and published before anybody serves it."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from inductory_client.contract.errors import LoadFailed
from inductory_client.graph import torch_private
from inductory_client.graph.report import GraphReport
from inductory_client.graph.session import Session
from inductory_client.publication import Draft, Publication
from inductory_client.publish import PublicationReport
from inductory_client.settings import Settings
from inductory_client.trouble import log
from msgspec.structs import replace

from .models import load_model

DECODED_TOKENS = 4
"""The first decoding step is captured with a fixed length, the second with a dynamic one."""
_PROMPT = 16

Progress = Callable[[str], None]


@dataclass(frozen=True)
class CompileRequest:
    """What is to be compiled, and where it goes."""

    model: str
    """A transformers config.json or its folder, or `module:function`."""
    batch: int
    tokens: tuple[int, int | None] | int
    """A fixed length, or the least and the greatest of a dynamic one."""
    decode: bool
    """Whether generating is compiled, too."""
    dtype: str
    settings: Settings
    label: str | None = None
    """What the build is called."""


def compile_ahead(request: CompileRequest, progress: Progress) -> dict[str, Any]:
    """Compile what the store lacks of a model, publish it, and say what became of it.

    Idempotent: what the store has is fetched and not compiled again. Raises what the store raises, Malformed
    for a model that can't be made, and LoadFailed where a graph had to be left to stock Inductor.
    """
    progress("making the model")
    model, arguments = load_model(request.model, request.dtype)
    with _settings(request) as settings:
        publications: list[Publication] = []
        session = Session(settings, hand_over=publications.append)
        began = time.perf_counter()
        with _progress_of(progress), torch.no_grad():
            _run(model, arguments, request, session)
        seconds = time.perf_counter() - began
        stock = [report.reason for report in session.reports if report.outcome == "stock"]
        if stock:
            raise LoadFailed(f"{len(stock)} graphs can't be shared: {'; '.join(sorted(set(stock)))}")
        sent = [_publish(session, publication, progress) for publication in publications]
        session.client.close()
    return _report(tuple(session.reports), sent, seconds)


@contextlib.contextmanager
def _settings(request: CompileRequest) -> Iterator[Settings]:
    """Give the compile an empty cache of its own where there is a store: what the store lacks is compiled,
    though this machine may have it.
    """
    label = request.label or request.settings.model
    settings = replace(request.settings, model=label, on_miss="compile", disabled=False)
    if settings.url is None:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="inductory-ahead-") as folder:
        yield replace(settings, cache_dir=Path(folder), store_deadline_s=60.0)


def _run(model: Any, arguments: dict[str, Any] | None, request: CompileRequest, session: Session) -> None:
    def backend(module: torch.fx.GraphModule, inputs: Any) -> Any:
        return session.compile_graph(module, inputs, {})

    # Of forward, as its users do: torch.compile(model).generate() would call the model as it was.
    model.forward = torch.compile(model.forward, backend=backend)
    if arguments is not None:
        model(**arguments)
        return
    tokens = request.tokens if isinstance(request.tokens, int) else _within(request.tokens)
    ids = torch.arange(request.batch * tokens).reshape(request.batch, tokens) % 100
    if request.decode:
        model.generate(ids, max_new_tokens=DECODED_TOKENS, do_sample=False)
        return
    if isinstance(request.tokens, tuple):
        torch_private.mark_dynamic(ids, 1, *request.tokens)
    model(input_ids=ids, use_cache=False)


def _within(tokens: tuple[int, int | None]) -> int:
    low, high = tokens
    return max(low, _PROMPT) if high is None else max(low, min(_PROMPT, high))


def _publish(session: Session, publication: Publication, progress: Progress) -> PublicationReport:
    def steps(done: int, total: int) -> None:
        progress(f"publishing {done} of {total}")

    drafts = tuple(_by_this_command(draft) for draft in publication.artifacts)
    return session.client.publisher.publish_now(replace(publication, artifacts=drafts), steps)


def _by_this_command(draft: Draft) -> Draft:
    return replace(draft, provenance=replace(draft.provenance, builder="inductory compile"))


@contextlib.contextmanager
def _progress_of(progress: Progress) -> Iterator[None]:
    """Show what the client logs while it works."""

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            progress(record.getMessage())

    handler, level = Shown(logging.INFO), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _report(reports: Sequence[GraphReport], sent: list[PublicationReport], seconds: float) -> dict[str, Any]:
    return {
        "graphs": len(reports),
        "submodules": sum(report.submodules for report in reports),
        "pieces": sum(report.pieces for report in reports),
        "unique_artifacts": len({key for report in reports for key in report.keys}),
        "compiled": sum(report.compiled for report in reports),
        "found": sum(report.hits for report in reports),
        "seconds": round(seconds, 3),
        "compile_seconds": round(sum(report.seconds.get("compile", 0.0) for report in reports), 3),
        "blobs_sent": sum(report.blobs_sent for report in sent),
        "blob_bytes": sum(report.blob_bytes for report in sent),
        "builds": sorted({report.build for report in reports if report.build is not None}),
        "manifests": [report.manifest for report in reports if report.manifest is not None],
    }
