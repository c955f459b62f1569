"""A way to a real S3 server on which things go wrong, for tests: it passes on what it isn't told to spoil."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from misbehaving import Misbehaving, answer

_XML = b"application/xml"


class Asked(NamedTuple):
    """A request: its head, and as much of its body as came with it."""

    method: str
    path: str
    head: bytes
    rest: bytes

    @property
    def is_for_a_blob(self) -> bool:
        return ".zst" in self.path


def everything(_: Asked) -> bool:
    return True


def reads(asked: Asked) -> bool:
    """Whether a blob's bytes are asked for."""
    return asked.method == "GET" and asked.is_for_a_blob


class S3Proxy(Misbehaving):
    """Stands before the server at `upstream`; `seen` has what was asked of it.

    What is signed stays as it is: a signature covers the address that the store was given, which is this one.
    With a context it speaks TLS, and the server behind it doesn't.
    """

    def __init__(self, upstream: str, context: ssl.SSLContext | None = None) -> None:
        super().__init__(lambda sock, _: self._serve(sock))
        self._context = context
        if context is not None:
            self.url = self.url.replace("http:", "https:")
        self.lead_to(upstream)
        self._when: Callable[[Asked], bool] = lambda _: False
        self._fault: Fault = hang
        self.seen: list[Asked] = []

    def lead_to(self, upstream: str) -> None:
        """Lead to another server from here on."""
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)

    @contextlib.contextmanager
    def spoiling(self, when: Callable[[Asked], bool], fault: Fault) -> Iterator[None]:
        """Answer the requests that `when` picks by `fault`, inside."""
        self._when, self._fault = when, fault
        try:
            yield
        finally:
            self._when = lambda _: False

    def pass_on(self, asked: Asked) -> Iterator[bytes]:
        """Ask the server, and yield its answer as it comes."""
        with self._asking(asked) as upstream:
            while part := upstream.recv(65536):
                yield part

    def _serve(self, sock: socket.socket) -> None:
        """One request a connection."""
        if self._context is None:
            self._answer(sock)
            return
        with self._context.wrap_socket(sock, server_side=True) as wrapped:
            self._answer(wrapped)

    def _answer(self, sock: socket.socket) -> None:
        asked = _read(sock)
        if asked is None:
            return
        self.seen.append(asked)
        if self._when(asked):
            self._fault(asked, sock, self)
            return
        with self._asking(asked) as upstream:
            _pump(sock, upstream)

    @contextlib.contextmanager
    def _asking(self, asked: Asked) -> Iterator[socket.socket]:
        with socket.create_connection(self._upstream) as upstream:
            upstream.sendall(asked.head + b"\r\nConnection: close\r\n\r\n" + asked.rest)
            yield upstream


Fault = Callable[[Asked, socket.socket, S3Proxy], None]
"""Answers a request, or doesn't; the connection is closed when it returns."""


def refuse(status: bytes, code: str) -> Fault:
    """Answer as S3 does where it refuses or fails."""

    def fault(asked: Asked, sock: socket.socket, _: S3Proxy) -> None:
        _drain(asked, sock)
        words = "<Message>the server&apos;s own words</Message>"
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code>{words}</Error>".encode()
        close = b"Connection: close\r\n"
        if asked.method == "HEAD":
            sock.sendall(answer(b"", status, _XML, headers=close))
        else:
            sock.sendall(answer(body, status, _XML, headers=close))

    return fault


def hang(_: Asked, __: socket.socket, server: S3Proxy) -> None:
    """Never answer."""
    server.over.wait()


def hang_up(_: Asked, __: socket.socket, ___: S3Proxy) -> None:
    """Close the connection."""


def cut(asked: Asked, sock: socket.socket, server: S3Proxy) -> None:
    """Answer 200, with half of the body."""
    whole = b"".join(server.pass_on(asked))
    head, _, body = whole.partition(b"\r\n\r\n")
    sock.sendall(head + b"\r\n\r\n" + body[: len(body) // 2])


def stall(asked: Asked, sock: socket.socket, server: S3Proxy) -> None:
    """Answer 200, with half of the body, and never the rest."""
    cut(asked, sock, server)
    server.over.wait()


def drip(asked: Asked, sock: socket.socket, server: S3Proxy) -> None:
    """Answer 200, with the body in single bytes, so that no single wait is long."""
    head, _, body = b"".join(server.pass_on(asked)).partition(b"\r\n\r\n")
    sock.sendall(head + b"\r\n\r\n")
    for at in range(len(body)):
        if server.over.wait(0.02):
            return
        sock.sendall(body[at : at + 1])


def flip(asked: Asked, sock: socket.socket, server: S3Proxy) -> None:
    """Answer 200, with another bit in the middle."""
    whole = bytearray(b"".join(server.pass_on(asked)))
    whole[-(len(whole) - whole.index(b"\r\n\r\n")) // 2] ^= 1
    sock.sendall(whole)


def _read(sock: socket.socket) -> Asked | None:
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        part = sock.recv(65536)
        if not part:
            return None
        buffer += part
    head, _, rest = buffer.partition(b"\r\n\r\n")
    method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
    return Asked(method, path, head, rest)


def _drain(asked: Asked, sock: socket.socket) -> None:
    """Take the body of a request, unless its sender waits for a word first."""
    if b"100-continue" in asked.head.lower():
        return
    lengths = [line for line in asked.head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    left = (int(lengths[0].split(b":")[1]) if lengths else 0) - len(asked.rest)
    while left > 0 and (part := sock.recv(65536)):
        left -= len(part)


def _pump(sock: socket.socket, upstream: socket.socket) -> None:
    """Pass bytes on both ways until the server is done."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ, upstream)
        selector.register(upstream, selectors.EVENT_READ, sock)
        while True:
            for key, _ in selector.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                part = source.recv(65536)
                if part:
                    key.data.sendall(part)
                elif source is upstream:
                    return
                else:
                    selector.unregister(sock)
                    upstream.shutdown(socket.SHUT_WR)
