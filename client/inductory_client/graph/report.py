"""Reports: what became of each captured graph, for people, demonstrations and benchmarks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from inductory_client.fork import ForkLock

Outcome = Literal["loaded", "compiled", "stock"]

REPORTS_MAX = 1000


@dataclass
class GraphReport:
    """One captured graph. Seconds are of this graph alone."""

    outcome: Outcome = "stock"
    """loaded: nothing was compiled; compiled: some pieces were; stock: left to stock Inductor."""
    reason: str = ""
    """Why it was left to stock Inductor, or what the store's trouble was."""
    captured: bool = True
    """Whether Dynamo captured it; False for a start from a loadable dispatch."""
    dispatch: str | None = None
    """The key of its loadable dispatch, where it has one."""
    name: str = ""
    submodules: int = 0
    """All parts of the split, attention included."""
    pieces: int = 0
    """Those that are compiled."""
    unique: int = 0
    hits: int = 0
    compiled: int = 0
    bytes_raw: int = 0
    """Uncompressed bytes of the payloads and native files that were loaded or made."""
    bytes_moved: int = 0
    """Bytes that travelled, packed."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By step: capture (split and keys), fetch, verify (a part of fetch), load, compile; from a dispatch also
    key (of the model and the process) and guards (the dispatch itself, once its pieces are loaded).
    """
    manifest: str | None = None
    build: str | None = None
    keys: tuple[str, ...] = ()

    def took(self, step: str, seconds: float) -> None:
        """Count seconds as a step's."""
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Count the block's seconds as a step's."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.took(step, time.perf_counter() - began)


_LOCK = ForkLock()
_REPORTS: deque[GraphReport] = deque(maxlen=REPORTS_MAX)


def keep(report: GraphReport) -> None:
    with _LOCK:
        _REPORTS.append(report)


def reports() -> tuple[GraphReport, ...]:
    """Return the reports of this process, oldest first; the last thousand are kept."""
    with _LOCK:
        return tuple(_REPORTS)
