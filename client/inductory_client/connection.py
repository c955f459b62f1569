"""Connections that can't outlive a deadline, whatever the other side does.

A timeout on a socket bounds one wait, so a server that sends a byte now and then holds a caller for ever.
Here every single read asks the deadline how long it may take. Looking up a name and shaking hands can't be
asked: they run on a daemon thread, which is left behind when the deadline passes.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - names are looked up with it, on a thread: see fork.py
import http.client
import io
import socket
import threading
from typing import TYPE_CHECKING, Any

from .contract.errors import DeadlineExceeded, StoreUnavailable
from .deadline import Deadline
from .fork import begin_anew_in_children

if TYPE_CHECKING:
    import ssl

OPENING_MAX = 16
"""Attempts to reach stores that may be going on in a process, those left behind included."""


class _Openings:
    """Counts the attempts that are going on. Those of a parent aren't its child's."""

    def __init__(self) -> None:
        self.after_fork()
        begin_anew_in_children(self)

    def after_fork(self) -> None:
        self.free = threading.BoundedSemaphore(OPENING_MAX)

    def begin(self) -> bool:
        """Whether one more may go on."""
        return self.free.acquire(blocking=False)

    def end(self) -> None:
        self.free.release()


_openings = _Openings()


class TimedSocket:
    """As much of a socket as http.client uses, with the deadline of the call it is used for."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.deadline = deadline
        self._sock = sock
        self._readers = 0
        self._closed = False

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self.deadline.remaining())
        self._sock.sendall(data)

    def recv_into(self, buffer: Any) -> int:
        self._sock.settimeout(self.deadline.remaining())
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        self._readers += 1
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Close once the last reader is closed: http.client closes a connection before it reads the
        answer.
        """
        self._closed = True
        if self._readers == 0:
            self._sock.close()

    def reader_closed(self) -> None:
        self._readers -= 1
        if self._closed:
            self.close()


class _Reader(io.RawIOBase):
    def __init__(self, sock: TimedSocket) -> None:
        self._timed = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._timed.reader_closed()


class Connection(http.client.HTTPConnection):
    """A connection to the store, opened when first used; `deadline` is that of the call it is lent to."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, deadline: Deadline) -> None:
        super().__init__(host, port)
        self._context = context
        self._deadline = deadline

    def connect(self) -> None:
        sock = open_socket(self.host, self.port, self._context, self._deadline)
        self.sock: Any = TimedSocket(sock, self._deadline)

    def use_for(self, deadline: Deadline) -> None:
        self._deadline = deadline
        if self.sock is not None:
            self.sock.deadline = deadline


class _Opening:
    """A socket that is being opened, and whether anybody still waits for it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.lock = threading.Lock()
        self.abandoned = False
        self.sock: socket.socket | None = None
        self.error: Exception | None = None

    def run(self, address: tuple[str, int], context: ssl.SSLContext | None, seconds: float) -> None:
        try:
            sock = socket.create_connection(address, timeout=seconds)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if context is not None:
                    sock = context.wrap_socket(sock, server_hostname=address[0])
            except Exception:
                sock.close()
                raise
            with self.lock:
                self.sock = sock
                if self.abandoned:
                    sock.close()
        except Exception as error:
            self.error = error
        finally:
            _openings.end()
            self.done.set()

    def abandon(self) -> None:
        with self.lock:
            self.abandoned = True
            if self.sock is not None:
                self.sock.close()


def open_socket(host: str, port: int, context: ssl.SSLContext | None, deadline: Deadline) -> socket.socket:
    """Return a connected socket. Raises DeadlineExceeded, StoreUnavailable and OSError."""
    seconds = deadline.remaining()
    if not _openings.begin():
        raise StoreUnavailable("too many attempts to reach the store are still going on")
    opening = _Opening()
    thread = threading.Thread(
        target=opening.run, args=((host, port), context, seconds), name="inductory-connect", daemon=True
    )
    try:
        thread.start()
    except RuntimeError:
        # The interpreter is on its way out and starts no threads, while the last uploads are sent. Their own
        # thread opens the connection; the exit doesn't wait for it longer than it wants to.
        thread.run()
    if not opening.done.wait(seconds):
        opening.abandon()
        raise DeadlineExceeded(f"{host}:{port} didn't take the connection before the deadline")
    if opening.error is not None:
        raise opening.error
    assert opening.sock is not None
    return opening.sock
