"""A session: the graphs of one process under one set of settings, from capture to callable.

The unit is one captured graph. All its pieces are there before the first is loaded; missing ones are
compiled; if any load fails, all are dropped and the graph is compiled. Whatever goes wrong, it ends in stock
Inductor, here and nowhere else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
import torch.fx

from inductory_client.client import Client
from inductory_client.contract.build import BuildEntry
from inductory_client.contract.errors import CompilerAbsent, InductoryError, LoadFailed, PieceMissing
from inductory_client.contract.wire import ArtifactWanted, Event, EventKind
from inductory_client.fetch import Piece as FetchedPiece
from inductory_client.fork import ForkLock
from inductory_client.publication import Draft, ManifestDraft, Publication
from inductory_client.settings import Settings
from inductory_client.shared import shared_client
from inductory_client.trouble import log, warn_once

from . import factors, torch_private
from .captured import CapturedGraph, Piece, capture, holds_here
from .compiling import Compiled, compiler
from .identity import ModelIdentity, build_of, identify
from .load import load_piece
from .loaded import Loaded, LoadedPieces
from .readable import documents
from .report import REPORTS_MAX, GraphReport, keep
from .reproducible import PATCHES
from .torch_stock import stock_compile
from .turns import Turns
from .unsupported import Unsupported
from .wiring import wire


@dataclass(frozen=True)
class Owner:
    """Whose graph it is, where that is known before the capture, and what is published beside it."""

    name: str
    """What the build's entry is called."""
    identity: ModelIdentity
    dispatch: Callable[[CapturedGraph, Mapping[str, tuple[str, ...]]], Draft]
    """Makes the loadable dispatch of a graph whose pieces added these guards. Raises Unsupported."""


_SESSIONS: dict[Settings, Session] = {}
_LOCK = ForkLock()

factors.begin()  # whoever imports this is about to need them
_MODELS_MAX = 10_000


def session(settings: Settings) -> Session:
    """Return this process's session under `settings`."""
    with _LOCK:
        if settings not in _SESSIONS:
            _SESSIONS[settings] = Session(settings, client=shared_client(settings))
        return _SESSIONS[settings]


class Session:
    """Safe for threads as far as Dynamo is: it captures one graph at a time."""

    def __init__(
        self,
        settings: Settings,
        hand_over: Callable[[Publication], object] | None = None,
        client: Client | None = None,
    ) -> None:
        """`hand_over` takes what is to be published; by default that happens in the background. `client` is
        one of its own unless told.
        """
        self.settings = settings
        self.client = client or Client(settings)
        self.client.prefetch(settings)
        self.hand_over = hand_over or self.client.publisher.submit
        self.loaded = LoadedPieces()
        self.models: dict[CodeType, ModelIdentity] = {}
        self.reports: deque[GraphReport] = deque(maxlen=REPORTS_MAX)

    def compile_graph(
        self,
        module: torch.fx.GraphModule,
        inputs: Sequence[Any],
        patches: dict[str, Any],
        owner: Owner | None = None,
    ) -> Callable[..., Any]:
        """Return a callable for `module`. Raises PieceMissing under the policy `error`, and what stock
        Inductor raises.
        """
        if self.settings.reproducible:
            patches = PATCHES | patches
        report = GraphReport(name=_name() if owner is None else owner.name)
        keep(report)
        self.reports.append(report)
        if self.settings.disabled:
            report.reason = "disabled by INDUCTORY_DISABLED"
            return stock_compile(module, inputs, patches)  # type: ignore[no-any-return]
        try:
            with torch_private.kept_autocast(), self._leases_ended_on_failure(report):
                return _Graph(self, report, patches, owner).callable(module, inputs)
        except PieceMissing:
            raise
        except Unsupported as refusal:
            report.reason = str(refusal)
            warn_once(f"stock:{refusal}", "a graph is left to stock Inductor: %s", refusal)
        except Exception as error:
            report.reason = f"{type(error).__name__}: {error}"
            warn_once(
                f"stock:{type(error).__name__}", "a graph is left to stock Inductor after %s", report.reason
            )
            log.debug("what went wrong", exc_info=True)
        report.outcome = "stock"
        self.record("fallback", reason=report.reason[:200])
        return stock_compile(module, inputs, patches)  # type: ignore[no-any-return]

    @contextmanager
    def _leases_ended_on_failure(self, report: GraphReport) -> Iterator[None]:
        """Give up the leases of a graph that isn't published: this process lives on, and would renew them."""
        try:
            yield
        except BaseException:
            self.client.leases.end(report.keys)
            raise

    def record(
        self, kind: EventKind, *, artifact: str | None = None, seconds: float = 0.0, reason: str = ""
    ) -> None:
        event = Event(kind=kind, at=time.time(), seconds=seconds, artifact=artifact, reason=reason)
        self.client.telemetry.record(event)


class _Graph:
    """One captured graph on its way to a callable."""

    def __init__(
        self, session: Session, report: GraphReport, patches: dict[str, Any], owner: Owner | None
    ) -> None:
        self.session = session
        self.report = report
        self.patches = patches
        self.owner = owner

    def callable(self, module: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        settings = self.session.settings
        with self.report.timed("capture"):
            graph = capture(module, inputs, options=self.patches, splitting_ops=settings.splitting_ops)
        self._describe(graph)
        pieces = self._known(graph)
        fetched = self._fetch(graph, pieces.keys())
        self._require(graph, pieces.keys() | fetched.keys())
        loaded = self._load(graph, pieces, fetched)
        self._require(graph, loaded.keys())
        compiled: dict[str, Compiled] = {}
        if loaded.keys() == pieces.keys() | fetched.keys():
            compiled = self._take_turns(graph, loaded)
        missing = {k: p for k, p in graph.unique.items() if k not in loaded and k not in compiled}
        compiled |= self._compile(graph, missing)  # all that there is, where something couldn't be loaded
        made = {key: Loaded(result.call, result.guards) for key, result in compiled.items()}
        pieces = loaded | made
        dispatch = self._dispatch(graph, pieces)  # before the graph is taken over
        wired = wire(graph.split, {piece.part.name: pieces[piece.key].call for piece in graph.pieces})
        for key, piece in pieces.items():
            self.session.loaded.put(key, graph.device, piece)
        self.report.outcome = "compiled" if compiled else "loaded"
        if compiled or self.report.bytes_moved or dispatch is not None:
            self._hand_over(lambda: self._publication(graph, compiled, dispatch))
        log.info("%s: %d pieces, %d compiled", self.report.name, len(pieces), len(compiled))
        return wired

    def _describe(self, graph: CapturedGraph) -> None:
        self.report.submodules = len(graph.split.parts)
        self.report.pieces = len(graph.pieces)
        self.report.unique = len(graph.unique)
        self.report.keys = tuple(graph.unique)

    def _known(self, graph: CapturedGraph) -> dict[str, Loaded]:
        """Return the pieces that this process runs already, and that are right here."""
        found = {key: self.session.loaded.get(key, graph.device) for key in graph.unique}
        return {key: p for key, p in found.items() if p is not None and holds_here(graph, key, p.guards)}

    def _fetch(self, graph: CapturedGraph, known: Set[str]) -> dict[str, FetchedPiece]:
        wanted = [
            ArtifactWanted(key=key, graph_digest=piece.canonical.digest)
            for key, piece in graph.unique.items()
            if key not in known
        ]
        if not wanted:
            return {}
        fetched = self.session.client.fetch(
            wanted, graph.target, describe=graph.key_parts, model=_model_name(self.owner)
        )
        self.report.took("fetch", fetched.seconds)
        self.report.took("verify", fetched.verify_seconds)
        self.report.hits += len(fetched.pieces)
        self.report.bytes_moved += fetched.bytes_moved
        if fetched.error is not None:
            self.report.reason = str(fetched.error)
        for miss in fetched.misses:
            if miss.nearest is not None and miss.nearest.differences:
                log.info("nearest to %s: %s", miss.key, "; ".join(map(str, miss.nearest.differences)))
        return fetched.pieces

    def _require(self, graph: CapturedGraph, found: Set[str]) -> None:
        """Raise PieceMissing under the policy `error` where a piece isn't among `found`."""
        missing = sorted(graph.unique.keys() - found)
        if missing and self.session.settings.on_miss == "error":
            why = f" ({self.report.reason})" if self.report.reason else ""
            raise PieceMissing(
                f"{len(missing)} of {len(graph.unique)} pieces aren't to be had{why}, "
                f"and on_miss is `error`: {', '.join(missing)}"
            )

    def _load(
        self, graph: CapturedGraph, known: Mapping[str, Loaded], fetched: Mapping[str, FetchedPiece]
    ) -> dict[str, Loaded]:
        """Return what is known and what was fetched, loaded: all of it, or after any failure nothing."""
        found = dict(known)
        with self.report.timed("load"):
            for key, piece in fetched.items():
                subject = piece.artifact.subject
                started = time.perf_counter()
                try:
                    if not holds_here(graph, key, subject.guards):
                        raise LoadFailed("the artifact was compiled for other sizes than these")
                    call = load_piece(subject, piece.blobs, graph.target, graph.device)
                except InductoryError as error:
                    warn_once(f"load:{error.code}", "a graph is compiled, though it was found: %s", error)
                    self.session.record("refused", artifact=key, reason=error.code)
                    return {}
                found[key] = Loaded(call, subject.guards)
                self.session.record("load", artifact=key, seconds=time.perf_counter() - started)
                self.report.bytes_raw += sum(descriptor.size for descriptor in subject.loaded)
        return found

    def _take_turns(self, graph: CapturedGraph, loaded: dict[str, Loaded]) -> dict[str, Compiled]:
        """Compile what nobody else does, put what others published meanwhile into `loaded`, and return what
        was compiled. Where that can't be loaded, nothing is left in `loaded`.
        """
        client, settings = self.session.client, self.session.settings
        compiled: dict[str, Compiled] = {}

        def compile_here(keys: Collection[str], others: bool) -> None:
            # In the graph's order, whatever the order of `keys`: it leaves traces in the bytes.
            made = self._compile(graph, {key: p for key, p in graph.unique.items() if key in keys})
            compiled.update(made)
            if others:
                drafts = tuple(result.draft for result in made.values())
                self._hand_over(lambda: Publication(artifacts=drafts))

        def bring(keys: Collection[str]) -> Collection[str]:
            found = self._fetch(graph, graph.unique.keys() - keys)
            all_of_them = self._load(graph, loaded, found)
            loaded.clear()
            loaded.update(all_of_them)
            return all_of_them.keys() & keys

        missing = graph.unique.keys() - loaded.keys()
        turns = Turns(client.leases, compile_here=compile_here, bring=bring, patience_s=settings.patience_s)
        turns.take(missing)
        if turns.waited_s:
            self.report.took("wait", turns.waited_s)
        for key in turns.waited:
            self.session.record("waited", artifact=key)
        for key in turns.impatient:
            self.session.record("impatient", artifact=key)
        return compiled

    def _compile(self, graph: CapturedGraph, missing: Mapping[str, Piece]) -> dict[str, Compiled]:
        if not missing:
            return {}
        with self.report.timed("compile"):
            try:
                compiled = compiler()(missing, graph.target, self.patches, graph.options, graph.device)
            except CompilerAbsent as error:
                raise Unsupported(str(error)) from error
        for key, result in compiled.items():
            if not holds_here(graph, key, result.guards):
                raise Unsupported("the code that was compiled holds for other sizes than these")
            self.session.record("compile", artifact=key, seconds=result.seconds)
            self.report.bytes_raw += sum(item.size for item in result.draft.subject.loaded)
        self.report.compiled += len(compiled)
        return compiled

    def _dispatch(self, graph: CapturedGraph, pieces: Mapping[str, Loaded]) -> Draft | None:
        """Return the graph's loadable dispatch, None where it has none; the graph runs without it."""
        if self.owner is None:
            return None
        try:
            with self.report.timed("dispatch"):
                return self.owner.dispatch(graph, {key: piece.guards for key, piece in pieces.items()})
        except Exception as error:
            kind = "" if isinstance(error, Unsupported) else f"{type(error).__name__}: "
            warn_once(f"dispatch:{kind}{error}", "starts will capture this graph again: %s%s", kind, error)
            log.debug("what went wrong", exc_info=True)
            return None

    def _hand_over(self, publication: Callable[[], Publication]) -> None:
        """Hand over what was compiled. The graph runs; a failure here mustn't cost it that."""
        try:
            self.session.hand_over(publication())
        except Exception as error:
            self.session.client.leases.end(self.report.keys)
            warn_once("publish", "a compiled graph isn't published: %s: %s", type(error).__name__, error)
            log.debug("what went wrong", exc_info=True)

    def _publication(
        self, graph: CapturedGraph, compiled: Mapping[str, Compiled], dispatch: Draft | None
    ) -> Publication:
        """Return what was compiled, the graph's manifest, and its place in the model's build."""
        manifest = ManifestDraft(
            graph_digest=graph.outer.digest,
            guards_digest=graph.guards_digest,
            submodules=len(graph.split.parts),
            entries=graph.entries,
            documents=documents(graph),
        )
        self.report.manifest = manifest.manifest.id
        drafts = tuple(result.draft for result in compiled.values())
        if dispatch is not None:
            self.report.dispatch = dispatch.subject.key
            drafts += (dispatch,)
        entry = BuildEntry(
            name=self.report.name, manifest=self.report.manifest, dispatch=self.report.dispatch
        )
        identity = self._identity(graph) if self.owner is None else self.owner.identity
        build = build_of(identity, self.session.settings, graph.target, (entry,))
        self.report.build = build.key
        return Publication(artifacts=drafts, manifest=manifest, build=build)

    def _identity(self, graph: CapturedGraph) -> ModelIdentity:
        """Return whose graph it is. Behind a graph break the model isn't at hand; the code that broke is."""
        module, code, known = (
            torch_private.traced_module(),
            torch_private.captured_code(),
            self.session.models,
        )
        if module is not None:
            identity = identify(module)
            if code is not None and len(known) < _MODELS_MAX:
                known[code] = identity
            return identity
        # A function without a module: all that is known of it is what was captured.
        function = ModelIdentity("function", graph.outer.digest, graph.outer.digest)
        return function if code is None else known.get(code, function)


def _model_name(owner: Owner | None) -> str:
    """Return what a graph's model is called, as its build will have it; empty where no module is traced."""
    if owner is not None:
        return owner.identity.name
    module = torch_private.traced_module()
    return "" if module is None else type(module).__name__


def _name() -> str:
    module = torch_private.traced_module()
    return f"{type(module).__name__}.forward" if module is not None else torch_private.capture_name()
