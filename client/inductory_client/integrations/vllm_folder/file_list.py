"""The signed list of a folder's files.

vLLM unpickles what lies in its cache folder, so nothing is written there that no trusted signer vouches for.
An artifact's statement covers the parts; this one covers every file of a manifest, by path, digest and size.
It travels as a document of the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from inductory_client.contract.descriptor import Descriptor
from inductory_client.contract.errors import BadSignature, UntrustedSigner
from inductory_client.contract.manifest import Manifest
from inductory_client.contract.statement import Signature, signed_bytes, verify_signature
from inductory_client.contract.wire import decode, encode
from inductory_client.trust import Keyring

VLLM_SCHEME = "vllm"
FILES_STATEMENT = "application/vnd.inductory.files.v1+json"
SIGNATURE_NAME = "files.signature.json"
SIGNATURE_MEDIA_TYPE = "application/vnd.inductory.signature.v1+json"


class _FileList(msgspec.Struct, frozen=True):
    """The subject of the statement. The paths begin with vLLM's hash, so a list fits no other target."""

    scheme: str
    files: Sequence[Descriptor]


def files_statement(files: Sequence[Descriptor]) -> bytes:
    """Return the bytes that a file list's signature is made over."""
    return signed_bytes(FILES_STATEMENT, _FileList(VLLM_SCHEME, files))


def signature_document(signature: Signature) -> bytes:
    """Return the signature as it travels."""
    return encode(signature)


def check_file_list(manifest: Manifest, get_blob: Callable[[Descriptor], bytes], keyring: Keyring) -> None:
    """Raise BadSignature or UntrustedSigner unless a trusted key signed exactly the manifest's files.

    Raises Malformed where the signature is garbage, and what `get_blob` raises.
    """
    found = next((each for each in manifest.documents if each.name == SIGNATURE_NAME), None)
    if found is None:
        raise BadSignature("the build's files are unsigned")
    signature = decode(get_blob(found), Signature)
    if not keyring.trusts(signature.signer):
        raise UntrustedSigner(
            f"the build's files are signed by {signature.signer[:12]}, which isn't trusted here"
        )
    verify_signature(signature, files_statement(manifest.files))
