"""The way that a request came: which stores it passed, so that it never passes one twice."""

from __future__ import annotations

import re
from contextvars import ContextVar

from inductory_client.contract.errors import Malformed, UpstreamLoop

HEADER = "Inductory-Via"
"""Names the stores that a request passed, the first one first."""
STORES_MAX = 8
"""Most stores that a request may pass."""

_NAMES = re.compile(r"[0-9a-f]{16}(,[0-9a-f]{16})*")

passed: ContextVar[tuple[str, ...]] = ContextVar("passed", default=())
"""Which stores the request passed that is being answered; it goes along into worker threads."""


def stores_passed(header: str | None, name: str) -> tuple[str, ...]:
    """Return what a request passed before the store of this name. Raises UpstreamLoop and Malformed."""
    if header is None:
        return ()
    if len(header) > 1000 or _NAMES.fullmatch(header) is None:
        raise Malformed(f"{HEADER} doesn't name stores")
    names = tuple(header.split(","))
    if name in names:
        raise UpstreamLoop
    if len(names) >= STORES_MAX:
        raise UpstreamLoop(f"the request passed {len(names)} stores, and {STORES_MAX} are the most")
    return names
