"""Trust: whose artifacts this machine runs, and with which key it signs its own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .contract.digest import digest_of
from .contract.errors import BadSettings, UntrustedSigner
from .contract.statement import Signature, verify_signature
from .contract.wire import Artifact
from .keyfiles import (
    KEY_NAME,
    PUBLIC_NAME,
    TRUSTED_NAME,
    check_folder,
    make_folder,
    public_line,
    read_guarded,
    read_public,
    write_new,
)
from .settings import Settings
from .trouble import warn_once

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class SigningKey:
    """A private key that vouches for what this machine publishes."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key: bytes = private_key.public_key().public_bytes_raw()

    @property
    def signer(self) -> str:
        """The signer's name: the SHA-256 of its raw public key."""
        return digest_of(self.public_key)

    def sign(self, message: bytes) -> Signature:
        return Signature(public_key=self.public_key, value=self._private_key.sign(message))

    @classmethod
    def generate(cls) -> SigningKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes, path: Path) -> SigningKey:
        """Read PKCS8. Raises BadSettings, in which `path` says where it came from."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadSettings(f"{path} isn't a plain private key in PEM; see inductory keygen") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadSettings(f"{path} isn't an Ed25519 key; make one with inductory keygen")
        return cls(key)

    def to_pem(self) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        return self._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_signing_key(settings: Settings, create: bool = True) -> SigningKey:
    """Return this machine's signing key; where there is none, make it if `create`.

    Two processes that race agree: the first to finish wins and the other uses its key. Raises BadSettings
    where the key can't be read or made, is malformed, or isn't there and isn't to be made.
    """
    path = settings.config_dir / KEY_NAME
    missing = not os.path.exists(path)
    if missing and not create:
        raise BadSettings(f"there is no signing key at {path}; make one with inductory keygen")
    make_folder(settings.config_dir)
    check_folder(settings.config_dir)
    if missing:
        write_new(path, SigningKey.generate().to_pem(), 0o600)
    key = _read_signing_key(path)
    if create:
        _write_public(settings.config_dir / PUBLIC_NAME, key)
    return key


def _write_public(path: Path, key: SigningKey) -> None:
    if not os.path.exists(path):
        line = public_line(key.public_key, f"inductory@{os.uname().nodename}")
        try:
            write_new(path, line.encode(), 0o644)
        except BadSettings as error:  # a key that was mounted read-only signs all the same
            warn_once(f"trust:{path}", "%s", error)


def _read_signing_key(path: Path) -> SigningKey:
    key = SigningKey.from_pem(read_guarded(path), path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        warn_once(f"trust:{path}", "%s can be read by other users; chmod 600 it", path)
    return key


class Keyring:
    """The public keys whose artifacts are run here."""

    def __init__(self, public_keys: Iterable[bytes]) -> None:
        self._by_signer = {digest_of(key): key for key in public_keys}

    def __len__(self) -> int:
        return len(self._by_signer)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._by_signer.values())

    def trusts(self, signer: str) -> bool:
        """Whether `signer` (the SHA-256 of a raw public key) is trusted."""
        return signer in self._by_signer

    def check(self, artifact: Artifact) -> None:
        """Raise UntrustedSigner or BadSignature unless a trusted key signed exactly this subject."""
        signer = artifact.signature.signer
        if not self.trusts(signer):
            raise UntrustedSigner(
                f"artifact {artifact.key[:12]} is signed by {signer[:12]}, which isn't trusted here; "
                "add its public key to the trusted keys to change that"
            )
        verify_signature(artifact.signature, artifact.subject.signed_bytes)

    @classmethod
    def load(cls, settings: Settings, strict: bool = False) -> Keyring:
        """Read our own key and all trusted ones.

        A key that can't be used raises BadSettings if `strict`; else it is warned about once and treated as
        absent, for a serving process that trusts one signer fewer still runs.
        """
        keys: list[bytes] = []
        for path in _key_files(settings, strict):
            try:
                keys += [_read_signing_key(path).public_key] if path.name == KEY_NAME else read_public(path)
            except BadSettings as error:
                if strict:
                    raise
                warn_once(f"trust:{path}", "a trusted key is left out: %s", error)
        return cls(keys)


def _key_files(settings: Settings, strict: bool) -> Iterator[Path]:
    folder = settings.config_dir
    own, trusted = folder / KEY_NAME, folder / TRUSTED_NAME
    for path in (own, trusted, *settings.trusted_keys):
        try:
            if path in (own, trusted) and not path.exists():
                continue
            if path in (own, trusted):
                check_folder(folder)
            if path.is_dir():
                check_folder(path)
                yield from sorted(path.glob("*.pub"))
            else:
                yield path
        except (BadSettings, OSError) as error:
            if strict:
                raise BadSettings(str(error)) from error
            warn_once(f"trust:{path}", "trusted keys are left out: %s", error)
