"""Request bodies, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator

import anyio.from_thread
from fastapi import Request
from inductory_client.contract.errors import (
    DeadlineExceeded,
    InductoryError,
    Malformed,
    TooLarge,
    UnsupportedMediaType,
)
from inductory_client.contract.wire import MESSAGE_BYTES_MAX
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from inductory_store.blobs.unpacking import CHUNK_BYTES
from inductory_store.pace import Pace

from .documented import JSON

SHORT_BYTES_MAX = 256 << 10
"""A message of up to so many bytes is received at any time, and in one go; longer ones take turns."""


async def read_whole(request: Request, pace: Pace) -> bytes:
    """Read the body of a message.

    Raises UnsupportedMediaType, TooLarge, DeadlineExceeded for a slow sender, Malformed for half a message.
    """
    media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if media_type != JSON:
        raise UnsupportedMediaType(f"a message is sent as {JSON}, not as {media_type[:100]!r}")
    length = content_length(request)
    if length is not None and length > MESSAGE_BYTES_MAX:
        raise _too_large()
    if length is not None and length <= SHORT_BYTES_MAX:
        # Most come with their headers, and are many: there is nothing to pace.
        try:
            async with asyncio.timeout(pace.idle_s):
                return await request.body()
        except (TimeoutError, ClientDisconnect) as error:
            raise _fault(error, 0) from None
    parts: list[bytes] = []
    stream = request.stream()
    while (part := await _next(stream, pace)) is not None:
        if pace.received_bytes > MESSAGE_BYTES_MAX:
            raise _too_large()
        parts.append(part)
    return b"".join(parts)


def body_chunks(request: Request, pace: Pace) -> Iterator[bytes]:
    """Yield the body in chunks, to be read in a worker thread while the event loop receives it."""
    stream = request.stream()

    async def pull() -> bytes:
        parts: list[bytes] = []
        total = 0
        while total < CHUNK_BYTES:
            part = await _next(stream, pace)
            if part is None:
                break
            parts.append(part)
            total += len(part)
        return b"".join(parts)

    while chunk := anyio.from_thread.run(pull):
        yield chunk


def read_again(data: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, and then what comes after it."""
    parts: list[Message] = [{"type": "http.request", "body": data, "more_body": False}]

    async def replayed() -> Message:
        return parts.pop() if parts else await receive()

    return replayed


def content_length(request: Request) -> int | None:
    """Return the length of the body, if it was declared."""
    return whole_number(request.headers.get("content-length"), "Content-Length")


def whole_number(text: str | None, name: str) -> int | None:
    """Read a header that is a number of bytes. Raises Malformed."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Malformed(f"{name} isn't a number of bytes")
    return int(text)


async def _next(stream: AsyncGenerator[bytes, None], pace: Pace) -> bytes | None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(pace.patience_s):
            part = await anext(stream, None)
    except (TimeoutError, ClientDisconnect) as error:
        raise _fault(error, pace.received_bytes) from None
    pace.arrived(len(part or b""), loop.time() - began)
    return part


def _fault(error: TimeoutError | ClientDisconnect, received_bytes: int) -> InductoryError:
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(f"the body came too slowly: {received_bytes} bytes so far")
    return Malformed("the sender hung up in the middle of the body")


def _too_large() -> TooLarge:
    return TooLarge(f"a message may have {MESSAGE_BYTES_MAX} bytes")
