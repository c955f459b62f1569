"""Request bodies, bounded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import TypeVar

import anyio
import anyio.from_thread
from fastapi import Request
from inductory_client.contract.errors import DeadlineExceeded, Malformed, TooLarge
from inductory_client.contract.wire import MESSAGE_BYTES_MAX, decode

from inductory_store.blobs.unpacking import CHUNK_BYTES

T = TypeVar("T")


async def read_message(request: Request, message_type: type[T], idle_s: float) -> T:
    """Read one JSON message. Raises TooLarge, Malformed, and DeadlineExceeded for a silent sender."""
    if (content_length(request) or 0) > MESSAGE_BYTES_MAX:
        raise _too_large()
    parts: list[bytes] = []
    total = 0
    stream = request.stream()
    while True:
        part = await _next(stream, idle_s)
        if part is None:
            return decode(b"".join(parts), message_type)
        total += len(part)
        if total > MESSAGE_BYTES_MAX:
            raise _too_large()
        parts.append(part)


def body_chunks(request: Request, idle_s: float) -> Iterator[bytes]:
    """Yield the body in chunks, to be read in a worker thread while the event loop receives it."""
    stream = request.stream()

    async def pull() -> bytes:
        parts: list[bytes] = []
        total = 0
        while total < CHUNK_BYTES:
            part = await _next(stream, idle_s)
            if part is None:
                break
            parts.append(part)
            total += len(part)
        return b"".join(parts)

    while chunk := anyio.from_thread.run(pull):
        yield chunk


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


async def _next(stream: AsyncGenerator[bytes, None], idle_s: float) -> bytes | None:
    try:
        with anyio.fail_after(idle_s):
            return await anext(stream, None)
    except TimeoutError:
        raise DeadlineExceeded(f"nothing of the body arrived for {idle_s:g} s") from None


def _too_large() -> TooLarge:
    return TooLarge(f"a message may have {MESSAGE_BYTES_MAX} bytes")
