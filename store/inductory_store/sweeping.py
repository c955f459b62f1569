"""Sweeping: while a store runs, what nobody goes on with is removed from the place for blobs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inductory_client.contract.errors import InductoryError

EVERY_S = 3600.0

_log = logging.getLogger(__name__)


@contextmanager
def sweeping(sweep: Callable[[float], int], every_s: float = EVERY_S) -> Iterator[None]:
    """Call `sweep` with the time every so many seconds, inside, on a thread that nobody waits for at the end.

    A sweep that fails is told and tried again the next time.
    """
    over = threading.Event()

    def run() -> None:
        while not over.wait(every_s):
            try:
                sweep(time.time())
            except InductoryError as error:
                _log.warning("what was left behind wasn't removed: %s", error)

    # A bucket that hangs holds a sweep for minutes, and may be left with it.
    threading.Thread(target=run, name="inductory-sweep", daemon=True).start()
    try:
        yield
    finally:
        over.set()
