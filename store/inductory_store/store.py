"""What every operation works with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .blobs.store import BlobStore
from .catalog.catalog import Catalog
from .kept_answers import KeptAnswers
from .settings import StoreSettings
from .upstream.health import UpstreamHealth


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
    upstream: UpstreamHealth | None = None
    """What is seen of the store that this one pulls from, if it is a pull-through store."""
