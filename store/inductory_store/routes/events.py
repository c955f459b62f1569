"""`/v1/events`: what clients count."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response
from inductory_client.contract.wire import Events, EventsStored

from inductory_store.operations.record_events import record_events

from .answers import received, store_of
from .documented import gives, takes
from .query import DEFAULT_NAMESPACE, NamespaceQuery, check_namespace

router = APIRouter(prefix="/v1", tags=["events"], default_response_class=Response)


@router.post("/events", **takes(Events), responses=gives(EventsStored))
async def post(request: Request, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Report a batch of events; they are kept as sums by minute."""
    operation = partial(record_events, store_of(request), check_namespace(namespace))
    return await received(request, Events, operation)
