"""Before anything else looks at a request: what many ask is answered from memory.

Routing, parameters and what is around them take three times as long as the answer to a hot model's resolve.
"""

from __future__ import annotations

import re

from fastapi import Request
from inductory_client.contract.build import DEFAULT_NAMESPACE
from inductory_client.contract.errors import InductoryError
from inductory_client.contract.wire import Resolve
from starlette.types import ASGIApp, Receive, Scope, Send

from inductory_store.problems import problem_response
from inductory_store.store import Store

from .answers import ASKED, answer, pace_of, question_of
from .body import SHORT_BYTES_MAX, content_length, read_again, read_whole

_PATH = "/v1/artifacts:resolve"
_QUERY = re.compile(rb"(?:namespace=([a-z0-9][a-z0-9._-]{0,63}))?")
"""Anything else is for the route, which refuses what nobody knows."""


class KeptFirst:
    """Goes around all of a store. What isn't in memory, or isn't a short question, goes on as it came."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app = app
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = _QUERY.fullmatch(scope["query_string"]) if self._is_question(scope) else None
        if query is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            length = content_length(request)
            if length is None or length > SHORT_BYTES_MAX:
                await self._app(scope, receive, send)
                return
            data = await read_whole(request, pace_of(request))
        except InductoryError as error:
            await problem_response(error)(scope, receive, send)
            return
        namespace = query[1].decode("ascii") if query[1] else DEFAULT_NAMESPACE
        kept = self._store.answers.get(question_of(Resolve, namespace, data))
        if kept is not None:
            await answer(kept)(scope, receive, send)
        else:
            await self._app({**scope, ASKED: True}, read_again(data, receive), send)

    def _is_question(self, scope: Scope) -> bool:
        return bool(scope["type"] == "http" and scope["path"] == _PATH and scope["method"] == "POST")
