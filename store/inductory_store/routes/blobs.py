"""`/v1/blobs`: bytes by digest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from inductory_client.contract.errors import LengthRequired, RangeNotSatisfiable, UnsupportedMediaType
from inductory_client.contract.wire import SIZE_HEADER, BlobsMissing, BlobsWanted

from inductory_store.catalog.blobs import BlobRow
from inductory_store.operations.get_blob import (
    Body,
    direct_url,
    find_blob,
    packed_size_at_rest,
    read_blob,
    read_hot,
)
from inductory_store.operations.missing_blobs import missing_blobs
from inductory_store.operations.put_blob import put_blob
from inductory_store.problems import problem_response

from .answers import FOREVER, pace_of, reading_blobs, received, store_of, streamed
from .body import body_chunks, content_length, whole_number
from .documented import BLOB, gives, takes
from .query import digest_of_path
from .ranges import parse_range

router = APIRouter(prefix="/v1", tags=["blobs"], default_response_class=Response)


@router.put(
    "/blobs/{digest}",
    **takes(BLOB),
    responses={201: {"description": "Kept"}, 200: {"description": "Was there"}},
)
async def put(request: Request, digest: str) -> Response:
    """Upload a blob: as it is, or as a zstd frame with `Content-Encoding: zstd` and `Inductory-Size`."""
    digest_of_path(digest)
    store = store_of(request)
    packed = _is_packed(request)
    size = whole_number(request.headers.get(SIZE_HEADER), SIZE_HEADER)
    if size is None and not packed:
        size = content_length(request)
    if size is None:
        raise LengthRequired(f"send {SIZE_HEADER}: the uncompressed size of the blob in bytes")
    chunks = body_chunks(request, pace_of(request))
    operation = partial(put_blob, store, digest, size, chunks, packed=packed)
    created = await anyio.to_thread.run_sync(operation, limiter=request.app.state.uploads)
    return Response(status_code=201 if created else 200)


@router.head("/blobs/{digest}")
@router.get(
    "/blobs/{digest}",
    responses={
        200: {"description": "The blob", "content": {"application/octet-stream": {}}},
        307: {"description": "As zstd, large, and in a bucket: `Location` gives the zstd frame for a while"},
    },
)
async def get(request: Request, digest: str) -> Response:
    """Download a blob, or a range of it; as zstd with `Accept-Encoding: zstd` and no Range.

    A store whose blobs are in a bucket may send readers of zstd there. Without that encoding it never does.
    """
    return await reading_blobs(request, partial(_get, request, digest_of_path(digest)))


@router.post("/blobs:missing", **takes(BlobsWanted), responses=gives(BlobsMissing))
async def missing(request: Request) -> Response:
    """Say which of these blobs the store lacks."""
    return await received(request, BlobsWanted, partial(missing_blobs, store_of(request)))


def _get(request: Request, digest: str) -> Response:
    row = find_blob(store_of(request), digest)
    packed = "range" not in request.headers and _takes_zstd(request.headers.get("accept-encoding", ""))
    headers = _headers(row, packed)
    if _has_it(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if packed:
        return _get_packed(request, row, headers)
    return _get_bytes(request, row, headers)


def _get_packed(request: Request, row: BlobRow, headers: dict[str, str]) -> Response:
    store = store_of(request)
    headers |= {"Content-Encoding": "zstd"}
    if request.method == "HEAD":
        return _answer(request, b"", packed_size_at_rest(store, row.digest), 200, headers)
    if url := direct_url(store, row):
        # The address is good for a short while, and for GET only.
        return RedirectResponse(url, 307, {"Cache-Control": "no-store", "Vary": headers["Vary"]})
    body, packed_size = read_hot(store, row)
    return _answer(request, body, packed_size, 200, headers)


def _get_bytes(request: Request, row: BlobRow, headers: dict[str, str]) -> Response:
    store = store_of(request)
    asked = request.headers.get("range")
    if request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        asked = None
    try:
        # A Range has a meaning for GET only.
        wanted = parse_range(asked, row.size) if request.method == "GET" else None
    except RangeNotSatisfiable as error:
        return problem_response(error, {"Content-Range": f"bytes */{row.size}"})
    start, stop = wanted or (0, row.size)
    if wanted is not None:
        headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{row.size}"}
    if request.method == "HEAD":
        packed_size_at_rest(store, row.digest)
        return _answer(request, b"", stop - start, 200, headers)
    body = read_blob(store, row.digest, row.size, start, stop)
    return _answer(request, body, stop - start, 206 if wanted is not None else 200, headers)


def _answer(request: Request, body: Body, length: int, status: int, headers: dict[str, str]) -> Response:
    headers |= {"Content-Length": str(length)}
    media_type = "application/octet-stream"
    if isinstance(body, bytes):
        return Response(body, status, headers, media_type)
    return StreamingResponse(streamed(request, body), status, headers, media_type)


def _headers(row: BlobRow, packed: bool) -> dict[str, str]:
    return {
        "ETag": f'"{row.digest}.zst"' if packed else f'"{row.digest}"',
        "Cache-Control": FOREVER,
        "Accept-Ranges": "bytes",
        "Vary": "Accept-Encoding",
        SIZE_HEADER: str(row.size),
    }


def _is_packed(request: Request) -> bool:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "zstd"):
        raise UnsupportedMediaType(f"a blob travels as it is or as zstd, not as {encoding[:100]!r}")
    return encoding == "zstd"


def _takes_zstd(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "zstd":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _has_it(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    tags: Mapping[str, None] = {part.strip().removeprefix("W/"): None for part in header.split(",")}
    return "*" in tags or etag in tags
