"""What a connection is told that no route ever sees: broken framing, half a body, one connection too many."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from inductory_client.contract.errors import DeadlineExceeded, InductoryError, Malformed, StoreUnavailable
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from .problems import problem_response


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn reads it, with Problems where uvicorn answers with plain text or with nothing.

    It hangs up on whoever takes longer than `headers_s` for the headers of a request: uvicorn would wait for
    ever, and a connection of a node that died would never be free again.
    """

    def __init__(self, *arguments: Any, headers_s: float, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._headers_s = headers_s
        self._too_slow: asyncio.TimerHandle | None = None
        self._asks = False
        """Whether a request has begun, of which not all headers are here."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_headers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._too_slow is None and (self.cycle is None or self.cycle.response_complete):
            self._await_headers()

    def on_message_begin(self) -> None:
        self._asks = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._asks = False
        self._have_headers()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP. `msg` is uvicorn's word for it."""
        self._end(Malformed("this isn't HTTP/1.1: the headers or the framing of the body are broken"))

    def eof_received(self) -> None:
        """Answer whoever hung up in the middle of a body, and may be listening still."""
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
            self._end(Malformed("the sender hung up in the middle of the body"))

    def _await_headers(self) -> None:
        self._too_slow = self.loop.call_later(self._headers_s, self._give_up)

    def _have_headers(self) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None

    def _give_up(self) -> None:
        if self._asks:
            self._end(DeadlineExceeded("the headers came too slowly"))
        else:  # who has asked nothing would take it for the answer to what comes next
            self.transport.close()

    def _end(self, error: InductoryError) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            # Whatever waits for this body learns that nobody is there any more.
            cycle.disconnected = True
            cycle.message_event.set()
        # In the middle of an answer it would be taken for a part of it.
        if not self.pipeline and (cycle is None or not cycle.response_started or cycle.response_complete):
            answer = problem_response(error)
            lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()]
            lines += [name + b": " + value for name, value in answer.raw_headers]
            self.transport.write(b"\r\n".join([*lines, b"connection: close", b"", bytes(answer.body)]))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if app is service_unavailable:
            # Who has too much to do is alive, and restarting it helps nobody.
            app = self.app if cycle.scope["path"] == "/healthz" else _refuse
        super()._start_asgi_task(cycle, app)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    error = StoreUnavailable("this store has as many connections as it may: try again in a moment")
    await problem_response(error, {"Connection": "close", "Retry-After": "1"})(scope, receive, send)
