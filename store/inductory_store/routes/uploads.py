"""`/v1/blobs/{digest}/upload`: large blobs by way of the bucket."""

from __future__ import annotations

from functools import partial

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from inductory_client.contract.wire import UploadOffered, UploadWanted

from inductory_store.operations.upload_blob import finish_upload, offer_upload

from .answers import received, store_of
from .documented import gives, takes
from .query import digest_of_path

router = APIRouter(prefix="/v1", tags=["blobs"], default_response_class=Response)


@router.post("/blobs/{digest}/upload", **takes(UploadWanted), responses=gives(UploadOffered))
async def offer(request: Request, digest: str) -> Response:
    """Ask where the zstd frame of a large blob may be PUT: a presigned address in the store's bucket.

    404 where the store takes blobs itself, only. What is sent there is no blob before it is finished.
    """
    return await received(
        request, UploadWanted, partial(offer_upload, store_of(request), digest_of_path(digest))
    )


@router.post(
    "/blobs/{digest}/upload/{upload}:finish",
    responses={201: {"description": "Kept"}, 200: {"description": "Was there"}},
)
async def finish(request: Request, digest: str, upload: str) -> Response:
    """Have what was sent to the bucket read back, verified and kept; where that fails, it is removed."""
    operation = partial(finish_upload, store_of(request), digest_of_path(digest), upload)
    created = await anyio.to_thread.run_sync(operation, limiter=request.app.state.uploads)
    return Response(status_code=201 if created else 200)
