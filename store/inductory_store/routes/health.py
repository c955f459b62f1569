"""`/healthz` and `/readyz`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from inductory_client.contract.wire import Status

from inductory_store.operations.check_health import check_health

from .answers import answer, store_of
from .documented import gives

router = APIRouter(tags=["health"], default_response_class=Response)


@router.get("/healthz", responses={200: {"description": "The process answers"}})
async def healthz() -> Response:
    """Say that the process lives; nothing else is asked."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz", responses=gives(Status, 200, 503))
def readyz(request: Request) -> Response:
    """Say whether the database and the place for blobs work."""
    status = check_health(store_of(request))
    return answer(status, 200 if status.status == "ok" else 503)
