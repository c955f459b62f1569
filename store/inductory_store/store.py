"""What every operation works with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .blobs.store import BlobStore
from .catalog.catalog import Catalog
from .kept_answers import KeptAnswers
from .settings import StoreSettings
from .uses import Uses


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
