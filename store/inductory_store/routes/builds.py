"""`/v1/builds`: models' starts, with what of them can be read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from inductory_client.contract.wire import Build, BuildPage, BuildStored

from inductory_store.operations.bundle import kept_bundle, open_bundle
from inductory_store.operations.parts_list import parts_list
from inductory_store.operations.put_build import put_build
from inductory_store.operations.read_build import list_builds, read_build
from inductory_store.operations.read_document import read_document

from .answers import A_MOMENT, FOREVER, answer, created, reading_blobs, received, store_of, streamed
from .documented import BUNDLE, BUNDLE_TYPE, TEXT, gives, takes
from .query import (
    DEFAULT_NAMESPACE,
    CursorQuery,
    LimitQuery,
    NamespaceQuery,
    check_namespace,
    digest_of_path,
    refuse_unknown,
)

router = APIRouter(prefix="/v1", tags=["builds"], default_response_class=Response)

_READABLE = {"X-Content-Type-Options": "nosniff"}


@router.get("/builds", responses=gives(BuildPage))
def list_all(
    request: Request,
    namespace: NamespaceQuery = DEFAULT_NAMESPACE,
    cursor: CursorQuery = None,
    limit: LimitQuery = 100,
) -> Response:
    """List builds, the newest first, in pages."""
    refuse_unknown(request, "namespace", "cursor", "limit")
    return answer(list_builds(store_of(request), check_namespace(namespace), cursor, limit))


@router.put("/builds/{key}", **takes(Build), responses=gives(BuildStored, 201, 200))
async def put(request: Request, key: str, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Publish a build, or more entries of one."""
    operation = partial(put_build, store_of(request), check_namespace(namespace), digest_of_path(key))
    return await received(request, Build, operation, created)


@router.get("/builds/{key}", responses=gives(Build))
def get(
    request: Request,
    key: str,
    namespace: NamespaceQuery = DEFAULT_NAMESPACE,
    format: Annotated[
        Literal["json", "vllm"], Query(description="vllm: the parts list, `vllm_compile_cache.py`.")
    ] = "json",
    keys: Annotated[Literal["newer", "older"], Query(description="Which of vLLM's key forms.")] = "newer",
    manifest: Annotated[str | None, Query(description="Whose parts list, where a build has several.")] = None,
    folder: Annotated[str, Query(description="Where the parts lie.", max_length=4096)] = "",
) -> Response:
    """Read a build, or the parts list of one of its manifests."""
    refuse_unknown(request, "namespace", "format", "keys", "manifest", "folder")
    store, namespace, key = store_of(request), check_namespace(namespace), digest_of_path(key)
    if format == "json":
        return answer(read_build(store, namespace, key), caching=A_MOMENT)
    text = parts_list(store, namespace, key, form=keys, manifest_id=manifest, folder=folder)
    return Response(text, media_type="text/x-python", headers=_READABLE)


@router.get("/builds/{key}/bundle", responses=BUNDLE)
async def bundle(request: Request, key: str, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Download everything that a build's start loads, in one stream."""
    store, namespace, key = store_of(request), check_namespace(namespace), digest_of_path(key)
    found: bytes | Iterator[bytes] | None = kept_bundle(store, namespace, key)
    if found is None:
        found = await reading_blobs(request, partial(open_bundle, store, namespace, key))
    headers = {"Cache-Control": A_MOMENT}
    if isinstance(found, bytes):
        return Response(found, headers=headers, media_type=BUNDLE_TYPE)
    return StreamingResponse(streamed(request, found), headers=headers, media_type=BUNDLE_TYPE)


@router.get("/builds/{key}/documents/{manifest}/{name:path}", responses=TEXT)
async def document(
    request: Request, key: str, manifest: str, name: str, namespace: NamespaceQuery = DEFAULT_NAMESPACE
) -> Response:
    """Read a build's blueprint (`computation_graph.py`) or dispatch (`transformed_code.py`)."""
    store, namespace = store_of(request), check_namespace(namespace)
    key, manifest = digest_of_path(key), digest_of_path(manifest)
    body, size = await reading_blobs(request, partial(read_document, store, namespace, key, manifest, name))
    headers = {**_READABLE, "Content-Length": str(size), "Cache-Control": FOREVER}
    if isinstance(body, bytes):
        return Response(body, media_type="text/plain", headers=headers)
    return StreamingResponse(streamed(request, body), media_type="text/plain", headers=headers)
