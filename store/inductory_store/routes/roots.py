"""`/v1/roots` and `/v1/retention`: what is kept, and for how long."""

from __future__ import annotations

from functools import partial
from typing import get_args

from fastapi import APIRouter, Request, Response
from inductory_client.contract.errors import Malformed
from inductory_client.contract.lifetime import (
    Kind,
    Retention,
    RetentionKept,
    Root,
    RootPage,
    RootStored,
    RootWanted,
)

from inductory_store.operations.retention import set_retention, show_retention
from inductory_store.operations.roots import add_root, list_roots, remove_root

from .answers import answer, created, received, store_of
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

router = APIRouter(prefix="/v1", tags=["lifetime"], default_response_class=Response)


@router.get("/roots", responses=gives(RootPage))
def list_all(
    request: Request,
    namespace: NamespaceQuery = DEFAULT_NAMESPACE,
    cursor: CursorQuery = None,
    limit: LimitQuery = 100,
) -> Response:
    """List a namespace's roots, in pages."""
    refuse_unknown(request, "namespace", "cursor", "limit")
    return answer(list_roots(store_of(request), check_namespace(namespace), cursor, limit))


@router.put("/roots/{kind}/{key}", **takes(RootWanted), responses=gives(RootStored, 201, 200))
async def put(
    request: Request, kind: str, key: str, namespace: NamespaceQuery = DEFAULT_NAMESPACE
) -> Response:
    """Keep a build, a manifest or an artifact with all that it names, or change its label and expiry."""
    operation = partial(
        add_root, store_of(request), check_namespace(namespace), _kind(kind), digest_of_path(key)
    )
    return await received(request, RootWanted, operation, created)


@router.delete("/roots/{kind}/{key}", responses=gives(Root))
def delete(request: Request, kind: str, key: str, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Remove a root; what it kept is kept for as long as the namespace's rule says."""
    store, namespace = store_of(request), check_namespace(namespace)
    return answer(remove_root(store, namespace, _kind(kind), digest_of_path(key)))


@router.get("/retention", responses=gives(RetentionKept))
def retention(request: Request, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Read how long a namespace keeps what nobody uses, how much, and how much there is."""
    refuse_unknown(request, "namespace")
    return answer(show_retention(store_of(request), check_namespace(namespace)))


@router.put("/retention", **takes(Retention), responses=gives(RetentionKept))
async def put_retention(request: Request, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Say how long a namespace keeps what nobody uses, and how much. Nothing goes before the next `gc`."""
    operation = partial(set_retention, store_of(request), check_namespace(namespace))
    return await received(request, Retention, operation)


def _kind(text: str) -> Kind:
    for kind in get_args(Kind):
        if text == kind:
            return kind  # type: ignore[no-any-return]
    raise Malformed(f"a root is of a {', a '.join(get_args(Kind))}, not of a {text!r}")
