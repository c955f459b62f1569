"""Counts: what a start got from the store, and what the engine then did with it.

An effective hit is what vLLM and Inductor say of themselves, by their own counters: loaded, and nothing
compiled. What was handed over counts for nothing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

from inductory_client.client import Client
from inductory_client.contract.errors import InductoryError
from inductory_client.trouble import warn_once

from .places import compilation_counts

ENGINE_COUNTERS = (
    "num_aot_artifacts_loaded",
    "num_aot_compiles",
    "num_compiled_artifacts_loaded",
)
"""Of `vllm.compilation.counter.compilation_counter`."""
GENERATED = "inductor_generated"
"""Graphs that Inductor generated code for in this process."""


@dataclass
class Counts:
    """What one process's start came to so far. Safe for threads."""

    client: Client
    served: Counter[str] = field(default_factory=Counter)
    """Entries that came from this node's cache or the store, by level."""
    missed: Counter[str] = field(default_factory=Counter)
    offered: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """What the start waited for us, by the clock, by step."""
    awaited_s: float = 0.0
    """What the start waited for another process that compiled the model."""
    reasons: list[str] = field(default_factory=list)
    """Why something wasn't served, each once."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _before: dict[str, int] = field(default_factory=dict)

    def served_one(self, level: str, entries: int = 1) -> None:
        with self._lock:
            self.served[level] += entries

    def missed_one(self, level: str, reason: str = "") -> None:
        with self._lock:
            self.missed[level] += 1
            if reason and reason not in self.reasons and len(self.reasons) < 10:
                self.reasons.append(reason)

    def offered_one(self, level: str) -> None:
        with self._lock:
            self.offered[level] += 1

    def took(self, kind: str, began: float) -> None:
        """Add the time since `began`, by `time.perf_counter`."""
        self.waited(kind, time.perf_counter() - began)

    def waited(self, kind: str, seconds: float) -> None:
        """Add a wait of the start for us."""
        with self._lock:
            self.seconds[kind] += seconds

    @property
    def waited_s(self) -> float:
        return sum(self.seconds.values())

    @contextmanager
    def ours(self, kind: str, failed: str, level: str = "", *, free: bool = False) -> Iterator[None]:
        """End a step of ours here where it fails: the engine goes on as it would without us, whatever was
        raised. `failed` says what that comes to, and the miss counts for `level`.

        The start waits for the step, and has that much less of its budget for the store, unless it is `free`:
        because it runs beside the start, or is the engine's own work.
        """
        began = time.perf_counter()
        try:
            with nullcontext() if free else self.client.budget.drawing():
                yield
        except Exception as error:
            warn_once(f"vllm:{kind}", f"{failed}: %s", _told(error))
            if level:
                self.missed_one(level, f"{failed}: {_told(error)}")
        finally:
            if not free:
                self.took(kind, began)

    @property
    def bytes_moved(self) -> int:
        """Packed bytes that came from the store, for threads beside the start too."""
        return self.client.bytes_fetched

    def begin(self) -> None:
        """Note where the engine's counters stand, the first time."""
        self._before = self._before or engine_counters()

    def by_engine(self) -> dict[str, int]:
        """Return what the engine's counters have counted since."""
        return {name: value - self._before.get(name, 0) for name, value in engine_counters().items()}

    def line(self) -> str:
        """Return the one line that a start is told in."""
        engine = self.by_engine()
        loaded = engine.get("num_aot_artifacts_loaded", 0) + engine.get("num_compiled_artifacts_loaded", 0)
        parts = [
            f"served {_listed(self.served)}",
            f"loaded {loaded}, compiled {compiled(engine)} by the engine's own count",
            f"missed {_listed(self.missed)}" + (f" ({'; '.join(self.reasons)})" if self.reasons else ""),
        ]
        if self.offered:
            parts.append(f"publishing {_listed(self.offered)}")
        waited = f"waited {self.waited_s:.2f} s"
        if self.awaited_s:
            waited += f", and {self.awaited_s:.1f} s for another process that compiled it"
        parts.append(f"{self.bytes_moved / 1e6:.2f} MB moved; {waited}")
        return "; ".join(parts)


def compiled(engine: Mapping[str, int]) -> int:
    """Return how many pieces Inductor really generated code for: vLLM counts each entry into the compiler,
    hit or not, and Inductor no misses of its cache where vLLM has it go around that.
    """
    return engine.get(GENERATED, 0)


def engine_counters() -> dict[str, int]:
    """Return vLLM's and Inductor's counters that tell a load from a compile."""
    from inductory_client.graph.torch_private import generated_graphs

    found: dict[str, int] = {}
    with suppress(ImportError, AttributeError):
        values = compilation_counts()
        found |= {name: int(values.get(name, 0)) for name in ENGINE_COUNTERS}
    return found | {GENERATED: generated_graphs()}


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, InductoryError | OSError) else f"{type(error).__name__}: {error}"


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()) if count) or "nothing"
