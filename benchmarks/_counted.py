"""A way to a server that counts the bytes which pass, in both directions."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Counted:
    """The way's address, and what passed so far."""

    address: str
    to_clients: int = 0
    from_clients: int = 0


@contextlib.contextmanager
def counted(url: str) -> Iterator[Counted]:
    """Open a way to the server at `url`, `scheme://host:port`, on a free port."""
    scheme, _, place = url.partition("://")
    host, _, port = place.partition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    way = Counted(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection((host, int(port)))
            for pair in ((client, server, "from_clients"), (server, client, "to_clients")):
                threading.Thread(target=_pass_on, args=(*pair, way), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield way
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _pass_on(source: socket.socket, sink: socket.socket, direction: str, way: Counted) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            setattr(way, direction, getattr(way, direction) + len(data))
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
