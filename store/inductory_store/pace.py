"""How slowly a body may arrive."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """The patience with one sender: a longest silence, and beyond it a least rate.

    So the whole time that a body may take follows from its size, and a drip of single bytes doesn't renew it.
    Time in which the store itself is busy doesn't count.
    """

    idle_s: float
    bytes_per_s: float
    waited_s: float = 0.0
    received_bytes: int = 0

    @property
    def patience_s(self) -> float:
        """How long the next part may be waited for."""
        left = self.idle_s + self.received_bytes / self.bytes_per_s - self.waited_s
        return max(0.0, min(self.idle_s, left))

    def arrived(self, part_bytes: int, waited_s: float) -> None:
        """Count a part that was waited for so long."""
        self.received_bytes += part_bytes
        self.waited_s += waited_s
