"""Signed statements: who vouches for what.

The signature is Ed25519 (RFC 8032) over DSSE's pre-authentication encoding (secure-systems-lab/dsse,
protocol.md) of a type and the canonical JSON of the subject. The JSON that is signed is made again from the
parsed subject by whoever verifies, so nothing is used that wasn't signed.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from .canonical_json import canonical_json
from .digest import digest_of
from .errors import BadSignature


class Signature(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An Ed25519 signature and the public key that it is checked with.

    Whether that key is trusted is another matter.
    """

    public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    value: Annotated[bytes, Meta(min_length=64, max_length=64)]

    @property
    def signer(self) -> str:
        """The signer's name: the SHA-256 of its raw public key."""
        return digest_of(self.public_key)


def signed_bytes(statement_type: str, subject: Any) -> bytes:
    """Return the bytes that a signature of `subject` is made over (DSSE PAE)."""
    kind, body = statement_type.encode(), canonical_json(subject)
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def verify_signature(signature: Signature, message: bytes) -> None:
    """Raise BadSignature unless `signature` is over `message` by the holder of its public key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(signature.public_key).verify(signature.value, message)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature from error
