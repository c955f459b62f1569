"""The composition root: the one place where a store's parts meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
from fastapi import FastAPI

from .blobs.place import open_blobs
from .blobs.store import BlobStore
from .catalog.catalog import Catalog
from .openapi import openapi_of
from .operations.await_keys import Waiting
from .operations.note_uses import keep_noting
from .problems import install_problems
from .readiness import Readiness
from .routes import artifacts, blobs, builds, events, health, leases, manifests, page, roots, stats, uploads
from .routes.kept import KeptFirst
from .routes.pull_through import PullThrough
from .settings import StoreSettings
from .store import Store
from .upstream.exchange import Exchange
from .upstream.health import UpstreamHealth
from .upstream.telling import tell_uses
from .upstream.upstream import Upstream
from .version import __version__

# Looked through in this order: what is asked most comes first.
_ROUTES = (artifacts, blobs, uploads, manifests, builds, leases, events, stats, roots, health, page)

_READERS_MAX = 40
"""Threads for what may wait for blobs; everything else has as many of anyio's."""


def create_app(settings: StoreSettings, blobs_at: BlobStore | None = None) -> FastAPI:
    """Compose a store. Its catalog must have been migrated; `blobs_at` is where the settings say unless told.

    The app closes what it opened when it shuts down.
    """
    catalog = Catalog(settings.catalog_url, settings.database_connections_max)
    places = blobs_at or open_blobs(settings)
    exchange = Exchange(settings.upstream_url, settings.upstream_timeout_s) if settings.upstream_url else None
    seen = UpstreamHealth(exchange) if exchange else None
    store = Store(settings, catalog, places, upstream=seen)
    upstream = Upstream(store, exchange, settings.upstream_wait_s) if exchange else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tell = partial(tell_uses, exchange) if exchange else None
        noting = asyncio.create_task(keep_noting(store, tell))
        yield
        noting.cancel()
        with suppress(asyncio.CancelledError):
            await noting
        if upstream is not None and seen is not None:
            upstream.close()
            seen.close()
        catalog.close()

    app = FastAPI(title="Inductory", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.store = store
    app.state.readers = anyio.CapacityLimiter(_READERS_MAX)
    app.state.uploads = anyio.CapacityLimiter(settings.uploads_max)
    app.state.waiting = upstream.waiting if upstream else Waiting(store)
    app.state.readiness = Readiness(store)
    app.state.messages = anyio.CapacityLimiter(settings.messages_max)
    routers = [part.router for part in _ROUTES]
    for router in routers:
        app.include_router(router)
    if upstream is not None:
        app.add_middleware(PullThrough, upstream=upstream)
    app.add_middleware(KeptFirst, store=store)
    install_problems(app, [route for router in routers for route in router.routes])
    app.openapi = openapi_of(app)  # type: ignore[method-assign]
    return app
