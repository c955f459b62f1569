"""The transport over TLS: a certificate that is trusted, and one that isn't."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from certificates import make_certificate, tls_context
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import StoreUnavailable
from inductory_client.transport import HttpStore
from misbehaving import Handler, Misbehaving, always, answer

DATA = b"the payload of a piece" * 100


def over_tls(certificate: Path, key: Path, handler: Handler) -> Handler:
    context = tls_context(certificate, key)

    def handle(sock: socket.socket, server: Misbehaving) -> None:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            handler(wrapped, server)

    return handle


def test_a_trusted_certificate_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(tmp_path)
    handler = over_tls(certificate, key, always(answer(DATA)))
    with Misbehaving(handler) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(StoreUnavailable, match="certificate"):
            HttpStore(url).get_blob(digest_of(DATA), len(DATA))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        store = HttpStore(url)
        for _ in range(2):
            assert store.get_blob(digest_of(DATA), len(DATA)) == DATA
        store.close()
        assert len(server.asked) == 2
