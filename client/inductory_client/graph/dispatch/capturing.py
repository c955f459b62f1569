"""Capturing a call where no dispatch was found: compiled, run here, and published for the next start."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

import torch

from inductory_client.graph import torch_private
from inductory_client.graph.captured import CapturedGraph
from inductory_client.graph.session import Owner, Session
from inductory_client.graph.unsupported import Unsupported
from inductory_client.publication import Draft

from .entry import entry, locals_of
from .loading import Candidate, prove
from .making import Wanted, make_dispatch
from .published import Published
from .signature import Call, Signature
from .watching import HookState


def capture_call(
    session: Session,
    published: Published,
    patches: dict[str, Any],
    model: torch.nn.Module,
    call: Call,
    signature: Signature,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    hooks: HookState,
    left_out: frozenset[int],
) -> Candidate:
    """Capture a call, varying as `signature` does, and have the session load, compile and publish.

    Raises Unsupported where it can't be one graph, PieceMissing, and what tracing the model raises.
    """
    if torch.is_grad_enabled() and any(weight.requires_grad for weight in model.parameters()):
        raise Unsupported("gradients are wanted; call it under torch.no_grad() or torch.inference_mode()")
    name = f"{type(model).__name__}.forward"
    scope = locals_of(model, args, kwargs)
    wanted = Wanted(
        name=name,
        signature=signature,
        key=published.key_of(signature),
        target=published.target,
        options=published.options,
        scope=scope,
        left_out=left_out,
    )
    with (
        torch_private.marked(call.marks(signature)),
        torch_private.whole_graph(entry, (model, *args), kwargs) as whole,
    ):

        def dispatch(graph: CapturedGraph, guards: Mapping[str, tuple[str, ...]]) -> Draft:
            if hooks:
                raise Unsupported("the model has hooks, which no key holds")
            draft = make_dispatch(whole, graph, guards, wanted)
            with torch_private.modes_back():
                prove(draft.blobs[0].data, scope)
            return draft

        owner = Owner(name, published.identity, dispatch)
        compiled = session.compile_graph(whole.module, whole.inputs, patches, owner)
        return Candidate(signature, whole.guards(), whole.runner(compiled), signature.keywords, hooks)


def compiled_as_ever(session: Session, patches: dict[str, Any]) -> Any:
    """Return the entry under torch.compile, with the session as its backend."""

    def backend(module: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        return session.compile_graph(module, inputs, patches)

    # Code of its own: Dynamo counts and keeps what it compiled by code, and models would share the limit.
    own = types.FunctionType(entry.__code__.replace(), entry.__globals__, entry.__name__)
    return torch.compile(own, backend=backend)
