"""`/healthz` and `/readyz`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from inductory_client.contract.wire import Status

from inductory_store.readiness import Readiness

from .answers import answer
from .documented import gives

router = APIRouter(tags=["health"], default_response_class=Response)


@router.get("/healthz", responses={200: {"description": "The process answers"}})
async def healthz() -> Response:
    """Say that the process lives; nothing else is asked."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz", responses=gives(Status, 200, 503))
async def readyz(request: Request) -> Response:
    """Say whether the database and the place for blobs work."""
    readiness = request.app.state.readiness
    assert isinstance(readiness, Readiness)
    status = await readiness.status()
    return answer(status, 200 if status.status == "ok" else 503)
