"""`/v1/manifests`: captured graphs."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response
from inductory_client.contract.wire import Manifest, ManifestStored

from inductory_store.operations.put_manifest import put_manifest
from inductory_store.operations.read_build import read_manifest

from .answers import FOREVER, answer, created, received, store_of
from .documented import gives, takes
from .query import DEFAULT_NAMESPACE, NamespaceQuery, check_namespace, digest_of_path

router = APIRouter(prefix="/v1", tags=["manifests"], default_response_class=Response)


@router.put("/manifests/{id}", **takes(Manifest), responses=gives(ManifestStored, 201, 200))
async def put(request: Request, id: str, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Publish a manifest whose artifacts and blobs are there."""
    operation = partial(put_manifest, store_of(request), check_namespace(namespace), digest_of_path(id))
    return await received(request, Manifest, operation, created)


@router.get("/manifests/{id}", responses=gives(Manifest))
def get(request: Request, id: str, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Read a manifest."""
    found = read_manifest(store_of(request), check_namespace(namespace), digest_of_path(id))
    return answer(found, caching=FOREVER)
