"""The transport over TLS: a certificate that is trusted, and one that isn't."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import StoreUnavailable
from inductory_client.transport import HttpStore
from misbehaving import Handler, Misbehaving, always, answer

DATA = b"the payload of a piece" * 100


def make_certificate(folder: Path) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a store for tests")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    certificate_path, key_path = folder / "store.crt", folder / "store.key"
    certificate_path.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_path, key_path


def over_tls(certificate: Path, key: Path, handler: Handler) -> Handler:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

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
