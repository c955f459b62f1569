"""Receiving a blob by way of the bucket: it is sent there, read back and verified, and only then it is one.

    offered --the client PUTs--> pending --read back, verified, put under its name, promised--> a blob
                                    |____________ refused, finished or too old: deleted

The store remembers nothing in between, so any replica may finish what another one offered.
"""

from __future__ import annotations

from inductory_client.contract.blob import packed_bytes_max
from inductory_client.contract.errors import NotFound, TooLarge, UploadExpired
from inductory_client.contract.wire import UploadOffered, UploadWanted

from inductory_store.blobs.store import DirectUploads
from inductory_store.blobs.upload_id import parse_upload_id
from inductory_store.store import Store

from .chunks import chunks_of
from .put_blob import is_there, put_blob


def offer_upload(store: Store, digest: str, wanted: UploadWanted) -> UploadOffered:
    """Return where a large blob may be sent. Raises TooLarge, and NotFound where it is sent here, only."""
    if wanted.size > store.settings.blob_bytes_max:
        raise TooLarge(f"a blob may have {store.settings.blob_bytes_max} bytes, not {wanted.size}")
    if wanted.packed_size > packed_bytes_max(wanted.size):
        raise TooLarge(f"the zstd frame is longer than one of {wanted.size} bytes can be")
    offered = _uploads(store).offer_upload(digest, wanted.size, wanted.packed_size, store.clock())
    return UploadOffered(
        upload=str(offered.upload),
        url=offered.url,
        headers=offered.headers,
        expires_in_s=offered.expires_s,
    )


def finish_upload(store: Store, digest: str, name: str) -> bool:
    """Make a blob of what was sent, and say whether it is new.

    It is read back from the bucket, and what is kept is what was verified: whoever has the address may send
    other bytes there meanwhile. Nothing is left of the upload, whether it was the blob or not. Idempotent.
    Raises NotFound where nothing was sent by that name, UploadExpired, and what BlobStore.put raises.
    """
    uploads = _uploads(store)
    upload = parse_upload_id(name)
    if upload is None:
        raise NotFound(f"{name!r} is no upload")
    try:
        if upload.finish_by < store.clock():
            raise UploadExpired
        try:
            file = uploads.open_upload(digest, upload)
        except NotFound:
            if is_there(store, digest):
                return False
            raise NotFound(f"there is no upload {name} of blob {digest}") from None
        with file:
            return put_blob(store, digest, upload.size, chunks_of(file), packed=True)
    finally:
        uploads.drop_upload(digest, upload)


def _uploads(store: Store) -> DirectUploads:
    if not isinstance(store.blobs, DirectUploads):
        raise NotFound("this store takes blobs itself, by PUT to /v1/blobs")
    return store.blobs
