"""Connections to upstream that can't outlive a deadline, whatever the other side does.

A timeout on a socket bounds one wait, and a server that sends a byte now and then would hold a thread for
ever. So every single wait asks the deadline of its exchange how long it may take.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from inductory_client.contract.errors import UpstreamUnavailable


class Deadline:
    """A moment after which an exchange is given up; a long body moves it on by what its length allows."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._idle_s = seconds
        self._at = clock() + seconds

    def extend(self, seconds: float) -> None:
        self._at += seconds

    def wait_s(self) -> float:
        """Return how long the next wait may take. Raises UpstreamUnavailable where nothing is left."""
        left = self._at - self._clock()
        if left <= 0:
            raise UpstreamUnavailable("upstream didn't answer in time")
        return min(left, self._idle_s)


class Connection(http.client.HTTPConnection):
    """A connection, opened when first used, with the deadline of the exchange that it is lent to."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, deadline: Deadline) -> None:
        super().__init__(host, port)
        self._tls = tls
        self._deadline = deadline
        self._plain: socket.socket | None = None

    def use_for(self, deadline: Deadline) -> None:
        self._deadline = deadline
        if self.sock is not None:
            self.sock.deadline = deadline

    def connect(self) -> None:
        address = (self.host, self.port)
        self._plain = sock = socket.create_connection(address, timeout=self._deadline.wait_s())
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                self._plain = sock = self._tls.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        self.sock: Any = _TimedSocket(sock, self._deadline)

    def hang_up(self) -> None:
        """Wake whoever waits on this connection in another thread: the process is to end."""
        if self._plain is not None:
            try:
                self._plain.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it was closed already


class _TimedSocket:
    """As much of a socket as http.client uses."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.deadline = deadline
        self._sock = sock
        self._readers = 0
        self._closed = False

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self.deadline.wait_s())
        self._sock.sendall(data)

    def recv_into(self, buffer: Any) -> int:
        self._sock.settimeout(self.deadline.wait_s())
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        self._readers += 1
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Close after the last reader: http.client closes a connection before it reads the answer."""
        self._closed = True
        if self._readers == 0:
            self._sock.close()

    def reader_closed(self) -> None:
        self._readers -= 1
        if self._closed:
            self.close()


class _Reader(io.RawIOBase):
    def __init__(self, sock: _TimedSocket) -> None:
        self._timed = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._timed.reader_closed()
