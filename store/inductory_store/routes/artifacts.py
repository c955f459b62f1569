"""`/v1/artifacts`: what compiles produced, by key."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from inductory_client.contract.lease import LEASE_HEADER
from inductory_client.contract.shape import parse_shape, shape_text
from inductory_client.contract.wire import Agreement, Artifact, LookupPage, Published, Resolve, Resolved

from inductory_store.catalog.lookup import Filters
from inductory_store.operations.lookup import lookup
from inductory_store.operations.publish_artifact import publish_artifact
from inductory_store.operations.read_agreement import read_agreement
from inductory_store.operations.read_artifact import read_artifact
from inductory_store.operations.resolve import resolve

from .answers import A_MOMENT, answer, kept_or_received, received, store_of
from .documented import gives, takes
from .query import (
    DEFAULT_NAMESPACE,
    CursorQuery,
    LimitQuery,
    NamespaceQuery,
    check_namespace,
    digest_of_path,
    refuse_unknown,
)

router = APIRouter(prefix="/v1", tags=["artifacts"], default_response_class=Response)

_FILTERS = ("shape", "submodule_index", "backend", "model", "target", "digest", "build", "manifest", "scheme")

Filter = Annotated[str | None, Query(max_length=400)]


@router.post("/artifacts:resolve", **takes(Resolve), responses=gives(Resolved))
async def resolve_many(request: Request, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Ask for many artifacts at once; small blobs travel along, and misses are explained."""
    operation = partial(resolve, store_of(request), check_namespace(namespace))
    # What isn't there may come at any moment; what is there stays.
    return await kept_or_received(request, namespace, Resolve, operation, lambda found: not found.misses)


@router.get("/artifacts", responses=gives(LookupPage))
def look_up(
    request: Request,
    namespace: NamespaceQuery = DEFAULT_NAMESPACE,
    shape: Annotated[str | None, Query(description="any, 8, 1-16384 or 2-", max_length=64)] = None,
    submodule_index: Annotated[int | None, Query(ge=0, le=1_000_000)] = None,
    backend: Filter = None,
    model: Filter = None,
    target: Filter = None,
    digest: Annotated[str | None, Query(description="Of any of its blobs.", max_length=64)] = None,
    build: Filter = None,
    manifest: Filter = None,
    scheme: Filter = None,
    disagreed: Annotated[bool, Query(description="Only those that builders made differently.")] = False,
    cursor: CursorQuery = None,
    limit: LimitQuery = 100,
) -> Response:
    """Look artifacts up by what they are and by who uses them, in pages."""
    refuse_unknown(request, "namespace", "cursor", "limit", "disagreed", *_FILTERS)
    filters = Filters(
        namespace=check_namespace(namespace),
        shape=None if shape is None else shape_text(parse_shape(shape)),
        submodule_index=submodule_index,
        backend=backend,
        model=model,
        target=target,
        digest=digest,
        build=build,
        manifest=manifest,
        scheme=scheme,
        disagreed=disagreed,
    )
    return answer(lookup(store_of(request), filters, cursor, limit))


@router.put("/artifacts/{key}", **takes(Artifact), responses=gives(Published, 201, 200))
async def publish(
    request: Request,
    key: str,
    namespace: NamespaceQuery = DEFAULT_NAMESPACE,
    lease: Annotated[
        str | None, Header(alias=LEASE_HEADER, description="Token of the lease that it was compiled under.")
    ] = None,
) -> Response:
    """Publish a signed artifact whose blobs are there. The first writer wins; later ones are compared."""
    operation = partial(
        publish_artifact, store_of(request), check_namespace(namespace), digest_of_path(key), lease=lease
    )
    return await received(request, Artifact, operation, _status_of)


@router.get("/artifacts/{key}", responses=gives(Artifact))
def get(request: Request, key: str, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Read one artifact, as it was published."""
    found = read_artifact(store_of(request), check_namespace(namespace), digest_of_path(key))
    return answer(found, caching=A_MOMENT)


@router.get("/artifacts/{key}/agreement", responses=gives(Agreement))
def agreement(request: Request, key: str, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Read whether builders made the same bytes of an artifact, and what differed."""
    return answer(read_agreement(store_of(request), check_namespace(namespace), digest_of_path(key)))


def _status_of(published: Published) -> int:
    return 201 if published.outcome == "created" else 200
