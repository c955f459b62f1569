"""Sessions in the tests' own process: artifacts that were compiled once, and machines that use them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from client_samples import settings as settings_in
from inductory_client.client import Client
from inductory_client.contract.wire import Artifact
from inductory_client.graph.captured import CapturedGraph
from inductory_client.graph.report import GraphReport
from inductory_client.graph.session import Session
from inductory_client.publication import Draft, Publication
from inductory_client.trouble import forget_warnings
from inductory_compiler.pieces import compile_pieces
from torch_capturing import captured_graph
from torch_cases import close, outputs
from torch_models import Case, decoder, token_ids

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch imports what it deprecates itself
    import torch.utils.mkldnn


@dataclass(frozen=True)
class Compiled:
    """A graph's artifacts, not yet signed."""

    graph: CapturedGraph
    drafts: tuple[Draft, ...]


def compile_case(case: Case) -> Compiled:
    function, inputs = case
    graph = captured_graph(function, *inputs)
    found = compile_pieces(graph.unique, graph.target, {}, graph.options)
    return Compiled(graph, tuple(result.draft for result in found.values()))


def three_pieces() -> Case:
    return decoder(), (token_ids(16),)


@dataclass
class Node:
    """A machine whose files lie in `folder`; every start on it is as of a fresh process."""

    folder: Path
    url: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def client(self) -> Client:
        return Client(settings_in(self.folder, url=self.url, **{"drain_s": 60.0, **self.options}))

    def keep(self, *drafts: Draft) -> tuple[Artifact, ...]:
        """Sign with this machine's key, and put into its local CAS."""
        with self.client() as client:
            return client.publisher.keep(Publication(artifacts=drafts))

    def publish(self, *drafts: Draft) -> None:
        """Sign with this machine's key, and send to the store."""
        with self.client() as client:
            client.publisher.publish_now(Publication(artifacts=drafts))

    def start(self, case: Case) -> tuple[GraphReport, list[str]]:
        """Compile a case with a new session; return its one report, and what was warned about.

        What it computes is right whatever happened, or this raises.
        """
        function, inputs = case
        made = Session(settings_in(self.folder, url=self.url, **{"drain_s": 60.0, **self.options}))
        torch._dynamo.reset()
        try:
            with warned() as warnings:
                compiled = torch.compile(function, backend=_backend(made))
                assert close(outputs(compiled, inputs), outputs(function, inputs))
        finally:
            made.client.close()
        (report,) = made.reports
        return report, warnings

    def blob_path(self, digest: str) -> Path:
        return self.folder / "cache" / "cas" / "sha256" / digest[:2] / digest

    def record_path(self, key: str) -> Path:
        return self.folder / "cache" / "artifacts" / key[:2] / f"{key}.json"


def _backend(made: Session) -> Callable[..., Any]:
    def backend(module: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        return made.compile_graph(module, inputs, {})

    return backend


@contextmanager
def warned() -> Iterator[list[str]]:
    """Gather what Inductory warns about."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    forget_warnings()
    logger = logging.getLogger("inductory")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
