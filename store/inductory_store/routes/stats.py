"""`/v1/stats`: how much there is."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from inductory_client.contract.wire import Stats

from inductory_store.operations.read_stats import read_stats

from .answers import answer, store_of
from .documented import gives
from .query import DEFAULT_NAMESPACE, NamespaceQuery, check_namespace, refuse_unknown

router = APIRouter(prefix="/v1", tags=["stats"], default_response_class=Response)


@router.get("/stats", responses=gives(Stats))
def get(request: Request, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Count the builds and artifacts of a namespace, and the blobs of the store."""
    refuse_unknown(request, "namespace")
    return answer(read_stats(store_of(request), check_namespace(namespace)))
