"""What routes share of addresses: namespaces, pages, digests, and parameters that nobody knows."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from inductory_client.contract import wire
from inductory_client.contract.build import DEFAULT_NAMESPACE, check_namespace
from inductory_client.contract.digest import is_digest
from inductory_client.contract.errors import Malformed

__all__ = [
    "DEFAULT_NAMESPACE",
    "CursorQuery",
    "LimitQuery",
    "NamespaceQuery",
    "check_namespace",
    "digest_of_path",
    "refuse_unknown",
]

NamespaceQuery = Annotated[str, Query(description="Whose artifacts: a team, a stage.")]
CursorQuery = Annotated[str | None, Query(description="`next` of the page before.")]
LimitQuery = Annotated[int, Query(ge=1, le=wire.PAGE_MAX, description="Rows a page.")]


def digest_of_path(text: str) -> str:
    """Return `text` if it is a digest. Raises Malformed."""
    if not is_digest(text):
        raise Malformed("the address doesn't end in a digest: 64 lower-case hex digits")
    return text


def refuse_unknown(request: Request, *known: str) -> None:
    """Raise Malformed for an unknown query parameter: a misspelt filter would answer something else."""
    for name in request.query_params:
        if name not in known:
            raise Malformed(f"{name!r} is no parameter here; known are {', '.join(known)}")
