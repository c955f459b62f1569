"""`inductory_client.load(model)`: a model's forward, loaded with its dispatch where one was published.

forward = inductory_client.load(model, dynamic={"input_ids": {1: (2, 4096)}})
logits = forward(input_ids=ids).logits

model.forward = inductory_client.load(model)
model.generate(ids)
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from inductory_client.settings import Settings
from inductory_client.shared import prefetch_as_set
from inductory_client.trouble import warn_once

# A program that imports `load` in front of torch has the build on its way while torch is imported.
prefetch_as_set()
if "torch" in sys.modules:  # where it isn't, nothing of it is imported before the program does
    with contextlib.suppress(ImportError, AttributeError):  # a torch that isn't known: `load` says so
        importlib.import_module("inductory_client.graph.dispatch.loaded_model")
        importlib.import_module("inductory_client.graph.session")
        importlib.import_module("inductory_client.graph.dispatch.early").begin()


def load(
    model: Any,
    /,
    *,
    dynamic: Mapping[str, Mapping[int, tuple[int, int | None]]] | None = None,
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
) -> Callable[..., Any]:
    """Return what calls `model`'s forward, compiled.

    Where somebody published this model's dispatch, a first call neither traces nor compiles; where nobody
    did, it is captured, compiled and published. `dynamic` are ranges of lengths by an argument's name and a
    dimension's place; without it, lengths vary once they have been seen to. `options` and `mode` are as in
    torch.compile(model, backend="inductory").

    The model's weights may change, also by loading others; its hooks and modules are looked at on each call.
    Raises BadSettings for an unknown option, and for a model whose instance has a forward of its own.
    """
    from inductory_client.graph.torch_stock import mode_patches

    given = dict(options or {})
    patches = mode_patches(mode) | (given.pop("config_patches", None) or {})
    settings = Settings.load(**given)
    try:
        from inductory_client.graph.dispatch import early
        from inductory_client.graph.dispatch.loaded_model import LoadedModel
        from inductory_client.graph.session import session
    except (ImportError, AttributeError) as error:
        # A torch in which a private name has moved: as torch.compile has it, which says what it does then.
        import torch

        warn_once("torch", "this torch isn't known, and graphs are captured in every start: %s", error)
        return torch.compile(model.forward, backend="inductory", options=dict(options or {}))
    early.begin()
    return LoadedModel(model, session(settings), patches, dynamic or {})
