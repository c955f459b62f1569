"""Loading a dispatch: from a signed artifact to something that runs a call, all of it or nothing."""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from inductory_client.collection import collection_paused
from inductory_client.contract.descriptor import LOADABLE_DISPATCH
from inductory_client.contract.errors import LoadFailed
from inductory_client.contract.target import Target
from inductory_client.contract.wire import ArtifactWanted
from inductory_client.fetch import Piece
from inductory_client.graph import torch_private
from inductory_client.graph.factors import current_target
from inductory_client.graph.load import LoadedPiece, load_piece
from inductory_client.graph.loaded import Loaded
from inductory_client.graph.report import GraphReport
from inductory_client.graph.session import Session
from inductory_client.graph.unsupported import Unsupported

from . import facts
from .behaviour import changed_behaviours
from .container import Header, unpack
from .entry import entry
from .outer import changed_operators, rebuild_attention, rebuild_outer
from .signature import Signature
from .sources import changed_sources
from .waking import wake
from .watching import HookState


@dataclass(frozen=True)
class Candidate:
    """Code for some calls, and the guards that say for which."""

    signature: Signature
    guards: Any
    run: Callable[..., Any]
    """Takes the module and the call's arguments."""
    keywords: tuple[str, ...]
    """The names of the arguments that are given by name: guards don't look at their order."""
    hooks: HookState = ()
    """The hooks that its code has in it."""

    def holds(self, scope: Mapping[str, Any], hooks: HookState) -> bool:
        """Whether it may run a call with these locals. Never raises."""
        try:
            if hooks != self.hooks or tuple(scope["kwargs"]) != self.keywords:
                return False
            return bool(self.guards.check(scope))
        except Exception:  # a guard that can't even be evaluated doesn't hold
            return False


@dataclass(frozen=True)
class Found:
    """A dispatch that lies here, verified, and nothing of it unpickled yet."""

    key: str
    header: Header
    payload: bytes
    size: int
    """Of the whole, uncompressed."""


def read_dispatch(key: str, piece: Piece) -> Found:
    """Read a fetched dispatch, as far as that runs nothing. Raises LoadFailed."""
    loaded = piece.artifact.subject.loaded
    if [descriptor.media_type for descriptor in loaded] != [LOADABLE_DISPATCH]:
        raise LoadFailed("the artifact is no dispatch")
    data = piece.blobs[loaded[0].digest]
    header, payload = unpack(data)
    return Found(key, header, payload, len(data))


def differences_of(found: Found) -> list[str]:
    """Return in what this process differs from the one that made the dispatch, for people."""
    changed = [f"the source of {name} is another one" for name in changed_sources(found.header.sources)]
    changed += [f"{name} does something else" for name in changed_behaviours(found.header.classes)]
    return changed + changed_operators(found.header.operators)


def load_dispatch(
    session: Session, found: Found, device: torch.device, scope: Mapping[str, Any], report: GraphReport
) -> Candidate:
    """Load a dispatch whose header was compared. RUNS CODE that a trusted signer vouched for.

    `device` is the model's, `scope` the locals of the call that it is for. Raises LoadFailed, whatever goes
    wrong, and names what differs.
    """
    try:
        changed = differences_of(found)
        if changed:
            raise LoadFailed("; ".join(changed))
        parts = found.header.parts
        with collection_paused():  # what is made here lives as long as the model
            attention = rebuild_attention(parts)
            wake(((call, parts[name].examples) for name, call in attention.items()), device)
            pieces = _pieces(session, found.header, device, report)
            with report.timed("guards"):
                return _assembled(found, attention, pieces, scope)
    except LoadFailed:
        raise
    except Exception as error:
        raise LoadFailed(f"{type(error).__name__}: {error}") from error


def _assembled(
    found: Found,
    attention: Mapping[str, Callable[..., Any]],
    pieces: Mapping[str, LoadedPiece],
    scope: Mapping[str, Any],
) -> Candidate:
    header = found.header
    outer = rebuild_outer(header.outer, header.parts, attention, pieces)
    globals_here = torch_private.live_globals(header.globals)
    put_away = torch_private.read(found.payload)
    _compare(put_away.facts, torch_private.Values(scope, globals_here))
    guards, code = torch_private.bring_back(put_away, entry, globals_here)
    globals_here[header.graph] = outer
    run = types.FunctionType(code, globals_here)
    return Candidate(header.signature, guards, run, header.signature.keywords)


def prove(data: bytes, scope: Mapping[str, Any]) -> None:
    """Raise Unsupported unless a dispatch that was made here, once loaded again, is for the call that it was
    made of.
    """
    header, payload = unpack(data)
    globals_here = torch_private.live_globals(header.globals)
    put_away = torch_private.read(payload)
    try:
        _compare(put_away.facts, torch_private.Values(scope, globals_here))
    except LoadFailed as error:
        raise Unsupported(f"what its guards hold can't be found again: {error}") from error
    guards, _ = torch_private.bring_back(put_away, entry, globals_here)
    if not guards.check(scope):
        raise Unsupported(f"its guards don't hold any more once they are loaded: {failing(guards, scope)}")


def failing(guards: Any, scope: Mapping[str, Any]) -> str:
    """Return the first guard that doesn't hold, for people."""
    return "; ".join(guards.check_verbose(scope).verbose_code_parts)[:400]


def _compare(recorded: list[Any], values: torch_private.Values) -> None:
    """Raise LoadFailed where something that guards hold by reference isn't what it was."""
    for source, way, parameter, expected in recorded:
        try:
            seen = facts.observe(way, parameter, values.of(source))
        except Exception as error:
            raise LoadFailed(f"{source.name} can't be looked at: {type(error).__name__}") from error
        if seen != expected:
            raise LoadFailed(f"{source.name} is {seen} here, and was {expected} where it was captured")


def _pieces(
    session: Session, header: Header, device: torch.device, report: GraphReport
) -> dict[str, LoadedPiece]:
    """Return the pieces that a dispatch calls, loaded: every one, or this raises."""
    wanted = {called.artifact: called for called in header.parts.values() if called.artifact is not None}
    target = current_target(
        {device if device.type == name else torch.device(name) for name in header.devices}
    )
    report.submodules, report.pieces = _counts(header)
    report.unique, report.keys = len(wanted), tuple(wanted)
    found: dict[str, Loaded] = {}
    for key in wanted:
        known = session.loaded.get(key, device.index)
        if known is not None:
            found[key] = known
    fetched = _fetch(session, [key for key in wanted if key not in found], target, report)
    with report.timed("load"):
        for key, piece in fetched.items():
            subject = piece.artifact.subject
            started = time.perf_counter()
            call = load_piece(subject, piece.blobs, target, device.index)
            found[key] = Loaded(call, subject.guards)
            session.record("load", artifact=key, seconds=time.perf_counter() - started)
            report.bytes_raw += sum(descriptor.size for descriptor in subject.loaded)
    for key, called in wanted.items():
        if not set(found[key].guards) <= set(called.guards):
            raise LoadFailed(f"the piece {key} was compiled for other sizes than the dispatch holds")
    for key in fetched:
        session.loaded.put(key, device.index, found[key])
    return {key: piece.call for key, piece in found.items()}


def _fetch(session: Session, keys: list[str], target: Target, report: GraphReport) -> dict[str, Piece]:
    if not keys:
        return {}
    fetched = session.client.fetch([ArtifactWanted(key=key) for key in keys], target)
    for name, seconds in (("fetch", fetched.seconds), ("verify", fetched.verify_seconds)):
        report.took(name, seconds)
    report.hits += len(fetched.pieces)
    report.bytes_moved += fetched.bytes_moved
    missing = sorted(set(keys) - fetched.pieces.keys())
    if missing:
        why = f" ({fetched.error})" if fetched.error is not None else ""
        raise LoadFailed(f"{len(missing)} of its pieces aren't to be had{why}: {', '.join(missing)}")
    return fetched.pieces


def _counts(header: Header) -> tuple[int, int]:
    """Return how many parts the outer graph calls, and how many of them are compiled."""
    called = [
        header.parts[node[0].partition(":")[2]]
        for node in header.outer["nodes"]
        if not isinstance(node, dict) and node[0].startswith("part:")
    ]
    return len(called), sum(part.artifact is not None for part in called)
