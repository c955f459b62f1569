"""A sender that stops half-way, for tests: a real socket on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


@contextmanager
def half_sent(url: str, method: str, address: str, sent: bytes, length: int) -> Iterator[socket.socket]:
    """A request that declares more bytes than it has sent."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as sender:
        head = f"{method} {address} HTTP/1.1\r\nHost: store\r\nContent-Length: {length}\r\n\r\n"
        sender.sendall(head.encode() + sent)
        yield sender
