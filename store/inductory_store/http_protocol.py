"""What a connection is told that no route ever sees: broken framing, half a body, one connection too many."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from inductory_client.contract.errors import InductoryError, Malformed, StoreUnavailable
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from .problems import problem_response


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn reads it, with Problems where uvicorn answers with plain text or with nothing."""

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP. `msg` is uvicorn's word for it."""
        self._end(
            Malformed("the connection doesn't keep to HTTP/1.1: a header or the framing of a body is broken")
        )

    def eof_received(self) -> None:
        """Answer whoever hung up in the middle of a body, and may be listening still."""
        if self.cycle is not None and self.cycle.more_body:
            self._end(Malformed("the sender hung up in the middle of the body"))

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
        chosen: Any = _refuse if app is service_unavailable else app
        super()._start_asgi_task(cycle, chosen)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    error = StoreUnavailable("this store has as many connections as it may: try again in a moment")
    await problem_response(error, {"Connection": "close", "Retry-After": "1"})(scope, receive, send)
