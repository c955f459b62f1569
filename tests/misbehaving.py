"""Stores that misbehave, for tests: real sockets on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self

Handler = Callable[[socket.socket, "Misbehaving"], None]
"""Gets one connection and its server; the connection is closed when it returns."""

JSON = b"application/json"


class Misbehaving:
    """A server whose connections are handled by `handler`, each on a thread of its own.

    `asked` holds the requests that came, `over` is set when the test is done with the server.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.asked: list[bytes] = []
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            thread = threading.Thread(target=self._handle, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _handle(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            self._handler(sock, self)


def requests(sock: socket.socket, server: Misbehaving) -> Iterator[bytes]:
    """Yield the requests of one connection, with their bodies."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            part = sock.recv(65536)
            if not part:
                return
            buffer += part
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        while len(buffer) < length:
            buffer += sock.recv(65536)
        body, buffer = buffer[:length], buffer[length:]
        request = head + b"\r\n\r\n" + body
        server.asked.append(request)
        yield request


def answer(
    body: bytes,
    status: bytes = b"200 OK",
    kind: bytes = JSON,
    length: int | None = None,
    headers: bytes = b"",
) -> bytes:
    """Return an HTTP answer; `length` may lie."""
    size = len(body) if length is None else length
    return b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n%s" % (
        status,
        kind,
        size,
        headers,
        body,
    )


def always(data: bytes, hang_up: bool = False) -> Handler:
    """Answer every request with the same bytes."""

    def handler(sock: socket.socket, server: Misbehaving) -> None:
        for _ in requests(sock, server):
            sock.sendall(data)
            if hang_up:
                return

    return handler


def silent(sock: socket.socket, server: Misbehaving) -> None:
    """Take the request and never answer."""
    for _ in requests(sock, server):
        server.over.wait()


def dripping(drop: bytes, first: bytes = b"") -> Handler:
    """Send a little at a time, without end, so that no single wait is long."""

    def handler(sock: socket.socket, server: Misbehaving) -> None:
        for _ in requests(sock, server):
            sock.sendall(first)
            while not server.over.wait(0.005):
                sock.sendall(drop)

    return handler


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """An address where nobody listens: bound, so that nobody else takes it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
