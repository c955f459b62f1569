"""What every operation works with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from .blobs.store import BlobStore
from .catalog.catalog import Catalog
from .catalog.hits import Hits
from .kept_answers import KeptAnswers
from .settings import StoreSettings
from .upstream.health import UpstreamHealth
from .uses import Uses

FRAMES_BYTES_MAX = 96 << 20


@dataclass(frozen=True)
class Store:
    """The parts of a store process, composed once in `app.py`."""

    settings: StoreSettings
    catalog: Catalog
    blobs: BlobStore
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""
    answers: KeptAnswers = field(default_factory=KeptAnswers)
    """What many ask, and what stays right."""
    uses: Uses = field(default_factory=Uses)
    """What was used lately, and isn't noted yet."""
    frames: KeptAnswers = field(default_factory=lambda: KeptAnswers(FRAMES_BYTES_MAX))
    """Large blobs that were verified a moment ago, packed; apart, so that they push no answer out."""
    upstream: UpstreamHealth | None = None
    """What is seen of the store that this one pulls from, if it is a pull-through store."""

    @cached_property
    def hits(self) -> Hits:
        """Where all of this process's resolves ask."""
        return Hits(self.catalog)

    def forget(self) -> None:
        """Forget what is kept in memory: something that was promised isn't there."""
        self.answers.forget()
        self.frames.forget()
