"""What routes share: the store behind a request, its namespace, and messages as answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Query, Request, Response
from inductory_client.contract import wire
from inductory_client.contract.build import DEFAULT_NAMESPACE, Namespace
from inductory_client.contract.digest import is_digest
from inductory_client.contract.errors import Malformed
from starlette.concurrency import run_in_threadpool

from inductory_store.store import Store

from .body import read_message

T = TypeVar("T")

NamespaceQuery = Annotated[str, Query(description="Whose artifacts: a team, a stage.")]
CursorQuery = Annotated[str | None, Query(description="`next` of the page before.")]
LimitQuery = Annotated[int, Query(ge=1, le=wire.PAGE_MAX, description="Rows a page.")]


def store_of(request: Request) -> Store:
    """Return the store that `app.py` composed."""
    store = request.app.state.store
    assert isinstance(store, Store)
    return store


def namespace_of(text: str) -> str:
    """Return `text` if it is a namespace. Raises Malformed."""
    try:
        return msgspec.convert(text, Namespace)
    except msgspec.ValidationError:
        raise Malformed(
            "a namespace has 1 to 64 of a-z, 0-9, . _ - and begins with a letter or digit"
        ) from None


def digest_of_path(text: str) -> str:
    """Return `text` if it is a digest. Raises Malformed."""
    if not is_digest(text):
        raise Malformed("the address doesn't end in a digest: 64 lower-case hex digits")
    return text


def answer(message: Any, status: int = 200) -> Response:
    """Return a message, or the JSON of one, as an answer."""
    content = message if isinstance(message, bytes) else wire.encode(message)
    return Response(content, status_code=status, media_type="application/json")


async def received(request: Request, message_type: type[T], operate: Callable[[T], Any]) -> Any:
    """Read a message and operate on it in a worker thread."""
    message = await read_message(request, message_type, store_of(request).settings.body_idle_s)
    return await run_in_threadpool(operate, message)


def refuse_unknown(request: Request, *known: str) -> None:
    """Raise Malformed for an unknown query parameter: a misspelt filter would answer something else."""
    for name in request.query_params:
        if name not in known:
            raise Malformed(f"{name!r} is no parameter here; known are {', '.join(known)}")


__all__ = [
    "DEFAULT_NAMESPACE",
    "CursorQuery",
    "LimitQuery",
    "NamespaceQuery",
    "answer",
    "digest_of_path",
    "namespace_of",
    "received",
    "refuse_unknown",
    "store_of",
]
