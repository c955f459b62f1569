"""`torch.compile(model, backend="inductory")`: found by its entry point, configured by INDUCTORY_* or
`options`.

    torch.compile(model, backend="inductory", options={"model": "qwen3", "on_miss": "error"})

`options` are settings by name (see `Settings`), and `config_patches`, Inductor's own. Gradients, graphs that
depend on data, and whatever else can't be shared safely go to stock Inductor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from inductory_client.fork import ForkLock
from inductory_client.graph.torch_stock import mode_patches, stock_compile
from inductory_client.settings import Settings
from inductory_client.shared import prefetch_as_set
from inductory_client.trouble import warn_once

# Dynamo imports this when a model is given to torch.compile, and captures it later.
prefetch_as_set()


def inductory(
    module: Any,
    example_inputs: Sequence[Any],
    *,
    options: dict[str, Any] | None = None,
    mode: str | None = None,
) -> Callable[..., Any]:
    """Return a callable for a captured graph, loaded from the store where it can be. A Dynamo backend.

    Raises BadSettings for an unknown option, and PieceMissing where `on_miss` is `error`; nothing else of
    ours.
    """
    given = dict(options or {})
    patches = given.pop("config_patches", None) or {}
    settings = _settings(given)
    patches = mode_patches(mode) | patches
    try:
        from inductory_client.graph.session import session
    except (ImportError, AttributeError) as error:
        # A torch in which a private name has moved. The others go on as if Inductory weren't there.
        warn_once("torch", "this torch isn't known, and graphs are left to stock Inductor: %s", error)
        return stock_compile(module, example_inputs, patches)  # type: ignore[no-any-return]
    return session(settings).compile_graph(module, example_inputs, patches)


_KNOWN: dict[tuple[tuple[str, str], ...], Settings] = {}
_LOCK = ForkLock()


def _settings(overrides: dict[str, Any]) -> Settings:
    """Read the settings once for each set of overrides, not once for each graph."""
    key = tuple(sorted((name, repr(value)) for name, value in overrides.items()))
    with _LOCK:
        if key not in _KNOWN:
            _KNOWN[key] = Settings.load(**overrides)
        return _KNOWN[key]
