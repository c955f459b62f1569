"""A model's forward that starts without a capture wherever one was published."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from inductory_client.contract.errors import BadSettings, InductoryError, PieceMissing
from inductory_client.fork import ForkLock
from inductory_client.graph import torch_private
from inductory_client.graph.report import GraphReport, keep
from inductory_client.graph.session import Session
from inductory_client.graph.unsupported import Bound, Unsupported
from inductory_client.trouble import log, warn_once

from .asked import AskedLengths, Ranges
from .capturing import capture_call, compiled_as_ever
from .entry import locals_of
from .loading import Candidate, Found, load_dispatch
from .published import Published
from .signature import Call, Signature, call_of
from .watching import HookState, ModuleWatch

CAPTURES_MAX = 16
"""How often a model is captured in one process; calls beyond are torch.compile's."""
_FAILURES_MAX = 3
_OUTLINES_MAX = 256

Outline = tuple[Any, ...]
"""What is seen of a call at a glance."""


class LoadedModel:
    """What `inductory_client.load` returns. Safe for threads."""

    def __init__(
        self, model: torch.nn.Module, session: Session, patches: dict[str, Any], lengths: Ranges
    ) -> None:
        """`patches` are Inductor's configuration patches. Raises BadSettings for a model whose instance has a
        forward of its own, what is captured being its class's, and for lengths that no call could have.
        """
        if "forward" in vars(model):
            raise BadSettings("the model's instance has a forward of its own, which isn't its class's")
        # generate() looks at the signature of `model.forward` for what it may pass: a mask, for one.
        self.__signature__ = inspect.signature(functools.partial(type(model).forward, model))
        self._model = model
        self._session = session
        self._patches = patches
        self._asked = AskedLengths(type(model), lengths)
        self._watch = ModuleWatch(model)
        self._lock = ForkLock()
        self._candidates: tuple[Candidate, ...] = ()
        """The most recently used first. Calls read it as it is; `_order` is held to change it."""
        self._order = ForkLock()
        self._published: dict[str, Published] = {}
        self._seen: list[Signature] = []
        self._tried: set[str] = set()
        self._captures = 0
        self._failed: dict[Outline, int] = {}
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
                    self._put(candidate, first=True)
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
            outline = _outline(args, kwargs)
            if self._is_left(outline):
                return self._stock()
            found = self._loaded_or_captured(args, kwargs, scope, hooks, outline)
            if found is None:
                return self._stock()
            self._put(found, first=True)
            self._seen.append(found.signature)
            return found.run

    def _is_left(self, outline: Outline) -> bool:
        """Whether such a call is torch.compile's, and nothing needs to be looked at for it again."""
        if self._session.settings.disabled or torch_private.is_transformed():
            return True
        if self._captures >= CAPTURES_MAX:
            warn_once(f"captures:{id(self)}", "%s was captured %d times; what else comes is torch.compile's",
                      type(self._model).__name__, CAPTURES_MAX)  # fmt: skip
            return True
        return len(self._failed) >= _OUTLINES_MAX or self._failed.get(outline, 0) >= _FAILURES_MAX

    def _loaded_or_captured(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        scope: Mapping[str, Any],
        hooks: HookState,
        outline: Outline,
    ) -> Candidate | None:
        try:
            weights = itertools.chain(self._model.parameters(), self._model.buffers())
            call = call_of(args, kwargs, self._asked.of(self._model, args, kwargs), weights)
            published = self._published_now()
            likely = self._likely(call)
            found = None if hooks else self._load(call, likely, published, scope)
            if found is not None:
                return found
            return self._capture(call, likely, published, args, kwargs, hooks)
        except PieceMissing:
            raise
        except Unsupported as refusal:
            self._failed[outline] = _FAILURES_MAX
            name = type(self._model).__name__
            warn_once(
                f"load:{refusal}", "%s is captured as torch.compile does, in every start: %s", name, refusal
            )
        except Exception as error:
            # The model's own trouble with these arguments, for one: called as ever, it raises what it raises.
            self._failed[outline] = self._failed.get(outline, 0) + 1
            warn_once(f"load:{type(error).__name__}", "a call is left to torch.compile after %s: %s",
                      type(error).__name__, error)  # fmt: skip
            log.debug("what went wrong", exc_info=True)
        return None

    def _capture(
        self,
        call: Call,
        likely: list[Signature],
        published: Published,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        hooks: HookState,
    ) -> Candidate:
        """Capture a call, varying as widely as it can. Raises what `capture_call` raises."""
        new = [each for each in likely if published.key_of(each).key not in self._tried]
        for signature in new or likely[-1:]:
            self._tried.add(published.key_of(signature).key)
            try:
                captured = capture_call(
                    self._session,
                    published,
                    self._patches,
                    self._model,
                    call,
                    signature,
                    args,
                    kwargs,
                    hooks,
                    left_out=frozenset({id(self)}),
                )
            except Bound as refusal:
                log.info("%s; captured otherwise", refusal)
                bound = refusal
                continue
            self._captures += 1
            return captured
        raise bound

    def _published_now(self) -> Published:
        """Return what is published of the model as it is now: it may have been changed."""
        now = Published(self._model, self._session, self._patches)
        known = self._published.get(now.build_key)
        if known is None:
            now.bring()
        else:
            now.go_on(known)
        self._published[now.build_key] = now
        return now

    def _likely(self, call: Call) -> list[Signature]:
        """Return the signatures under which this call may be captured, the widest first: varying where it
        differs from calls that were seen before, as Dynamo would have it, and as it is.
        """
        # What was asked to vary may be tied to what wasn't (a mask to a cache); so also without.
        calls = (call.signature, call.lengths)
        varied = [seen.varied(each) for each in calls for seen in reversed(self._seen)]
        found: list[Signature] = []
        for signature in (*varied, *calls):
            if signature is not None and signature not in found:
                found.append(signature)
        return found

    def _load(
        self, call: Call, likely: list[Signature], published: Published, scope: Mapping[str, Any]
    ) -> Candidate | None:
        """Return a dispatch whose guards hold for this call, None where nobody has one."""
        keys = [published.key_of(signature) for signature in likely]
        for found in published.fitting(call.lengths, [key.key for key in keys]):
            if (candidate := self._use(found, published, scope)) is not None:
                return candidate
        for key, signature in zip(keys, likely, strict=True):
            asked = published.under(key, signature)
            if asked is not None and (candidate := self._use(asked, published, scope)) is not None:
                return candidate
        return None

    def _use(self, found: Found, published: Published, scope: Mapping[str, Any]) -> Candidate | None:
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
            self._put(candidate, first=False)  # for calls to come
            return None
        report.outcome = "loaded"
        published.count(report)
        report.bytes_raw += found.size
        keep(report)
        self._session.reports.append(report)
        self._session.record("load", artifact=found.key, seconds=report.seconds.get("load", 0.0))
        log.info("%s: loaded, and not captured", report.name)
        return candidate

    def _put(self, candidate: Candidate, first: bool) -> None:
        with self._order:
            others = [each for each in self._candidates if each is not candidate]
            self._candidates = (candidate, *others) if first else (*others, candidate)

    def _stock(self) -> Callable[..., Any]:
        if self._fallback is None:
            self._fallback = compiled_as_ever(self._session, self._patches)
        return self._fallback


def _outline(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outline:
    given = (*map(type, args), *((name, type(value)) for name, value in kwargs.items()))
    return (*given, torch.is_grad_enabled(), torch.is_inference_mode_enabled())
