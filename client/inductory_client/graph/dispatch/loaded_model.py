"""A model's forward that starts without a capture wherever one was published."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from inductory_client.contract.errors import BadSettings, InductoryError, PieceMissing
from inductory_client.fork import ForkLock
from inductory_client.graph.report import GraphReport, keep
from inductory_client.graph.session import Session
from inductory_client.graph.unsupported import Unsupported
from inductory_client.trouble import log, warn_once

from .capturing import capture_call, compiled_as_ever
from .entry import locals_of
from .loading import Candidate, Found, load_dispatch
from .published import Published
from .signature import Call, Interval, Signature, call_of
from .watching import HookState, ModuleWatch

CAPTURES_MAX = 16
"""How often a model is captured in one process; calls beyond are torch.compile's."""

Lengths = Mapping[str, Mapping[int, Interval]]
"""Ranges by the name of an argument and the place of a dimension."""


class LoadedModel:
    """What `inductory_client.load` returns. Safe for threads."""

    def __init__(
        self, model: torch.nn.Module, session: Session, patches: dict[str, Any], lengths: Lengths
    ) -> None:
        """`patches` are Inductor's configuration patches. Raises BadSettings for a model whose instance has a
        forward of its own: what is captured is its class's.
        """
        if "forward" in vars(model):
            raise BadSettings("the model's instance has a forward of its own, which isn't its class's")
        self._model = model
        self._session = session
        self._patches = patches
        self._lengths = lengths
        self._watch = ModuleWatch(model)
        self._lock = ForkLock()
        self._candidates: tuple[Candidate, ...] = ()
        self._published: dict[str, Published] = {}
        self._seen: list[Signature] = []
        self._captured: set[str] = set()
        self._unable = ""
        self._fallback: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model's forward: with what is here where its guards hold, and else with what can be loaded
        or captured.
        """
        scope = locals_of(self._model, args, kwargs)
        hooks = self._watch.hooks()
        candidates = self._candidates
        for place, candidate in enumerate(candidates):
            if candidate.holds(scope, hooks):
                if place:
                    self._candidates = (candidate, *candidates[:place], *candidates[place + 1 :])
                return candidate.run(self._model, *args, **kwargs)
        return self._found(args, kwargs)(self._model, *args, **kwargs)

    def _found(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        """Return what runs a call that none of the candidates is for."""
        scope = locals_of(self._model, args, kwargs)
        with self._lock:
            hooks = self._watch.hooks()
            for candidate in self._candidates:  # another thread may have been first
                if candidate.holds(scope, hooks):
                    return candidate.run
            if self._session.settings.disabled:
                return self._stock()
            found = self._loaded_or_captured(args, kwargs, scope, hooks)
            if found is None:
                return self._stock()
            # A copy made anew: a candidate that was loaded and didn't hold stays for other calls.
            self._candidates = (found, *self._candidates)
            self._seen.append(found.signature)
            return found.run

    def _loaded_or_captured(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], scope: Mapping[str, Any], hooks: HookState
    ) -> Candidate | None:
        try:
            call = call_of(args, kwargs, self._asked(args, kwargs))
            published = self._published_now()
            likely = self._likely(call, published)
            found = None if hooks else self._load(call, likely, published, scope)
            if found is not None or self._unable or len(self._captured) >= CAPTURES_MAX:
                return found
            signature = next(
                (each for each in likely if published.key_of(each).key not in self._captured), likely[-1]
            )
            self._captured.add(published.key_of(signature).key)
            left_out = frozenset({id(self)})
            return capture_call(
                self._session,
                published,
                self._patches,
                self._model,
                call,
                signature,
                args,
                kwargs,
                hooks,
                left_out,
            )
        except PieceMissing:
            raise
        except Unsupported as refusal:
            self._unable = str(refusal)
            name = type(self._model).__name__
            warn_once(
                f"load:{refusal}", "%s is captured as torch.compile does, in every start: %s", name, refusal
            )
        except Exception as error:
            # The model's own trouble with these arguments, for one: called as ever, it raises what it raises.
            warn_once(f"load:{type(error).__name__}", "a call is left to torch.compile after %s: %s",
                      type(error).__name__, error)  # fmt: skip
            log.debug("what went wrong", exc_info=True)
        return None

    def _published_now(self) -> Published:
        """Return what is published of the model as it is now: it may have been changed."""
        now = Published(self._model, self._session, self._patches)
        known = self._published.get(now.build_key)
        if known is None:
            known = self._published[now.build_key] = now
            now.bring()
        return known

    def _likely(self, call: Call, published: Published) -> list[Signature]:
        """Return the signatures under which this call may be captured, the widest first: varying where it
        differs from calls that were seen before, as Dynamo would have it, and as it is.
        """
        found: list[Signature] = []
        for seen in reversed(self._seen):
            varied = seen.varied(call.signature)
            if varied is not None and varied not in found:
                found.append(varied)
        return [*found, call.signature]

    def _load(
        self, call: Call, likely: list[Signature], published: Published, scope: Mapping[str, Any]
    ) -> Candidate | None:
        """Return a dispatch whose guards hold for this call, None where nobody has one."""
        keys = [published.key_of(signature) for signature in likely]
        for found in published.fitting(call.lengths, [key.key for key in keys]):
            if (candidate := self._tried(found, published, scope)) is not None:
                return candidate
        for key in keys:
            asked = published.under(key)
            if asked is not None and (candidate := self._tried(asked, published, scope)) is not None:
                return candidate
        return None

    def _tried(self, found: Found, published: Published, scope: Mapping[str, Any]) -> Candidate | None:
        report = GraphReport(name=found.header.name, captured=False, dispatch=found.key, hits=1)
        report.build = published.build_key
        published.take(found.key)
        try:
            candidate = load_dispatch(self._session, found, published.device, scope, report)
        except InductoryError as error:
            warn_once(f"dispatch:{error}", "a dispatch isn't used, and the call is captured: %s", error)
            self._session.record("refused", artifact=found.key, reason=error.code)
            return None
        if not candidate.holds(scope, ()):
            self._candidates = (*self._candidates, candidate)  # for calls to come
            return None
        report.outcome = "loaded"
        report.bytes_moved, published.bytes_moved = report.bytes_moved + published.bytes_moved, 0
        report.bytes_raw += found.size
        keep(report)
        self._session.reports.append(report)
        self._session.record("load", artifact=found.key, seconds=report.seconds.get("load", 0.0))
        log.info("%s: loaded, and not captured", report.name)
        return candidate

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[int, Mapping[int, Interval]]:
        """Return the ranges that were asked for, by the address of the tensor."""
        if not self._lengths:
            return {}
        given = inspect.signature(type(self._model).forward).bind(self._model, *args, **kwargs).arguments
        given |= given.get("kwargs", {})
        return {id(given[name]): ranges for name, ranges in self._lengths.items() if name in given}

    def _stock(self) -> Callable[..., Any]:
        if self._fallback is None:
            self._fallback = compiled_as_ever(self._session, self._patches)
        return self._fallback
