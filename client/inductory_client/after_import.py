"""After import: what is done to a module as soon as somebody has imported it, and not a moment earlier."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .trouble import warn_once

Act = Callable[[ModuleType], None]


def after_import(name: str, act: Act) -> None:
    """Call `act` with the module `name`: now where it was imported, else when it has been.

    What `act` raises is warned about and never reaches whoever imports. It runs inside of that import, so it
    should import as little as it can.
    """
    if name in sys.modules:
        _done(name, act, importlib.import_module(name))  # which waits for a thread that is at it
    else:
        sys.meta_path.insert(0, _Awaited(name, act))


class _Awaited(MetaPathFinder):
    """Steps aside when it is asked for its module, and has whoever finds it call `act` in the end."""

    def __init__(self, name: str, act: Act) -> None:
        self._name = name
        self._act = act

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader: Any = None if spec is None else spec.loader
        if loader is None or not hasattr(loader, "exec_module"):
            return spec
        stock = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            stock(module)
            _done(self._name, self._act, module)

        # On the loader that there is, and not by one around it: whoever asks it for sources goes on as ever.
        with contextlib.suppress(AttributeError):
            loader.exec_module = exec_module
        return spec


def _done(name: str, act: Act, module: ModuleType) -> None:
    try:
        act(module)
    except Exception as error:
        warn_once(f"import:{name}", "what waited for %s failed: %r", name, error)
