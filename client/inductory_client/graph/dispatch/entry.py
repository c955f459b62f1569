"""What is captured: a call of a module, as a function that every process can import."""

from __future__ import annotations

from typing import Any


def entry(module: Any, *args: Any, **kwargs: Any) -> Any:
    """Call the module's class, and not the instance: there `forward` may be what was loaded."""
    return type(module).forward(module, *args, **kwargs)


def locals_of(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what guards on `entry` look at."""
    return {"module": module, "args": args, "kwargs": kwargs}
