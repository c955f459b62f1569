"""Serving: migrate, listen, say where, and stop cleanly."""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn
from inductory_client.contract.errors import BadSettings

from .app import create_app
from .blobs.place import open_blobs
from .catalog.blobs import has_blobs
from .catalog.catalog import Catalog
from .catalog.leases import database_time
from .catalog.migrate import is_current, upgrade
from .http_protocol import HttpProtocol
from .operations.await_keys import Waiting
from .settings import StoreSettings
from .store import Store
from .sweeping import sweeping
from .upstream.waiting import AwaitedUpstream

GRACE_SECONDS = 10
"""How long answers under way may take to finish at the end."""
CLOCKS_APART_S_MAX = 60.0
_M_ARENA_MAX = -8
"""Of `mallopt`, by glibc's malloc.h."""

_log = logging.getLogger(__name__)


def print_address(url: str) -> None:
    print(f"inductory store: {url}", flush=True)


def serve(settings: StoreSettings, announce: Callable[[str], None] = print_address) -> None:
    """Run a store until it is interrupted; `announce` is told its address once it accepts connections.

    Raises BadSettings where the address or the database can't be used, StorageFailed where the place for
    blobs can't.
    """
    _share_arenas()
    filled = migrate(settings)
    blobs = open_blobs(settings, filled=filled)
    blobs.sweep_incoming(time.time())
    listener = _listen(settings)
    app = create_app(settings, blobs)
    config = uvicorn.Config(
        app,
        http=cast(type[HttpProtocol], partial(HttpProtocol, headers_s=settings.body_idle_s)),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=settings.connections_max,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # uvicorn finishes what is under way, then passes the interrupt on.
    with sweeping(blobs.sweep_incoming), suppress(KeyboardInterrupt):
        _Server(config, announce, app.state.waiting).run(sockets=[listener])


def migrate(settings: StoreSettings, clock: Callable[[], float] = time.time) -> bool:
    """Bring the catalog to this code's schema, and say whether it promises blobs.

    Processes that share a data folder take turns; on PostgreSQL all that share the database do. A `clock`
    that is far from the database's is warned about: leases and graces go by the database's, dates by this.
    """
    with _turn(settings.data_dir / "migrate.lock"):
        catalog = Catalog(settings.catalog_url)
        try:
            upgrade(catalog.engine)
            with catalog.read() as connection:
                apart_s = abs(database_time(connection, clock) - clock())
                if apart_s > CLOCKS_APART_S_MAX:
                    _log.warning(
                        "this machine's clock and the database's are %.0f s apart: mend the clock", apart_s
                    )
                return has_blobs(connection)
        finally:
            catalog.close()


@contextmanager
def opened(settings: StoreSettings) -> Iterator[Store]:
    """Open what a store works with, for those who look after it while stores run or while none does.

    Raises BadSettings where no store was ever started there, StorageFailed where it can't be reached.
    """
    if not settings.database_url and not settings.data_dir.exists():
        raise BadSettings(f"there is no store in {settings.data_dir}: --data-dir says where it is")
    catalog = Catalog(settings.catalog_url, settings.database_connections_max)
    try:
        with catalog.read() as connection:
            if not is_current(connection):
                raise BadSettings("the catalog has an older schema, or none: start `inductory serve` once")
            filled = has_blobs(connection)
        yield Store(settings, catalog, open_blobs(settings, filled=filled))
    finally:
        catalog.close()


def _share_arenas() -> None:
    """Have threads share what they freed, where the C library is glibc.

    It gives each an arena of its own, up to eight a core. A store's threads pass megabytes through them, and
    each keeps its share: by `benchmarks/soak.py` 143 MiB where two arenas take 121.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, announce: Callable[[str], None], waiting: Waiting | AwaitedUpstream
    ) -> None:
        super().__init__(config)
        self._announce = announce
        self._waiting = waiting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            host, port = each.getsockname()[:2]
            self._announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._waiting.close()
        await super().shutdown(sockets)


def _listen(settings: StoreSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only for sockets that name TCP; else every answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise BadSettings(f"can't listen on {settings.host}:{settings.port}: {error.strerror}") from error
    return listener


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    try:
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadSettings(f"can't use {lock.parent} as the data folder: {error.strerror}") from error
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
