"""`/`: the first page."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from inductory_store.dashboard.page import Pulls, render
from inductory_store.operations.overview import overview

from .answers import store_of

router = APIRouter(include_in_schema=False, default_response_class=Response)

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/")
def first_page(request: Request) -> Response:
    """Show what there is, and what the last day brought."""
    store = store_of(request)
    pulls = None if store.upstream is None else Pulls(store.upstream.url, store.upstream.state())
    text = render(overview(store), str(request.base_url).rstrip("/"), pulls)
    return Response(text, media_type="text/html", headers=_HEADERS)
