"""What routes share: the store behind a request, and messages as answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from hashlib import sha256
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request, Response
from inductory_client.contract import wire
from inductory_client.contract.lifetime import RootStored
from starlette.concurrency import run_in_threadpool

from inductory_store.kept_answers import KEPT_S
from inductory_store.pace import Pace
from inductory_store.store import Store

from .body import SHORT_BYTES_MAX, content_length, read_whole

FOREVER = "public, max-age=31536000, immutable"
"""For what its address names by its digest."""
A_MOMENT = f"public, max-age={KEPT_S:.0f}"
"""For what stays unless it is deleted, or grows: no longer than another process answers from its memory."""

ASKED = "inductory.asked"
"""In the scope of a request for which memory was asked before."""

T = TypeVar("T")
R = TypeVar("R")


def store_of(request: Request) -> Store:
    """Return the store that `app.py` composed."""
    store = request.app.state.store
    assert isinstance(store, Store)
    return store


def answer(message: Any, status: int = 200, caching: str | None = None) -> Response:
    """Return a message, or the JSON of one, as an answer; `caching` is what any cache on the way is told."""
    content = message if isinstance(message, bytes) else wire.encode(message)
    headers = None if caching is None else {"Cache-Control": caching}
    return Response(content, status, headers, "application/json")


def _ok(_: object) -> int:
    return 200


async def reading_blobs(request: Request, work: Callable[[], R]) -> R:
    """Do what may wait for blobs on threads that do nothing else: a place for blobs that hangs keeps those
    alone, and whoever asks the catalog has an answer.
    """
    return await to_thread.run_sync(work, limiter=request.app.state.readers)


async def streamed(request: Request, chunks: Iterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the chunks of a blob, each read as by `reading_blobs`."""
    while (chunk := await reading_blobs(request, partial(next, chunks, None))) is not None:
        yield chunk


async def received(
    request: Request, message_type: type[T], operate: Callable[[T], R], status_of: Callable[[R], int] = _ok
) -> Response:
    """Read a message, operate on it, and answer with what comes of it.

    Decoding and encoding a long message takes a while: both are done in the worker thread that operates.
    """

    def operated(data: bytes) -> Response:
        result = operate(wire.decode(data, message_type))
        return answer(result, status_of(result))

    async with _turn(request):
        return await run_in_threadpool(operated, await read_whole(request, pace_of(request)))


async def kept_or_received(
    request: Request,
    namespace: str,
    message_type: type[T],
    operate: Callable[[T], R],
    stays: Callable[[R], bool],
) -> Response:
    """As `received`, and answer from memory what was asked a moment ago, where its answer `stays` right. What
    is worked out may read blobs.
    """
    answers = store_of(request).answers

    def operated(data: bytes) -> bytes:
        changes = answers.changes
        result = operate(wire.decode(data, message_type))
        content = wire.encode(result)
        if stays(result):
            answers.keep(question, content, changes)
        return content

    async with _turn(request):
        data = await read_whole(request, pace_of(request))
        question = question_of(message_type, namespace, data)
        # Asked twice, memory would take the first to be at it already.
        kept = None if ASKED in request.scope else answers.get(question)
        return answer(kept or await reading_blobs(request, partial(operated, data)))


def question_of(message_type: type[Any], namespace: str, data: bytes) -> Hashable:
    """Return what an answer to a message is kept by."""
    return message_type, namespace, sha256(data).digest()


def pace_of(request: Request) -> Pace:
    """Return how slowly this request's body may arrive."""
    settings = store_of(request).settings
    return Pace(settings.body_idle_s, settings.body_bytes_per_s_min)


def created(result: wire.ManifestStored | wire.BuildStored | RootStored) -> int:
    """Return the status of an answer to a PUT: 201 for what is new."""
    return 201 if result.created else 200


def _turn(request: Request) -> AbstractAsyncContextManager[None]:
    """Wait until there is room for the message. Short ones need no turn: their connections are counted."""
    length = content_length(request)
    if length is not None and length <= SHORT_BYTES_MAX:
        return nullcontext()
    limiter = request.app.state.messages
    assert isinstance(limiter, CapacityLimiter)
    return limiter
