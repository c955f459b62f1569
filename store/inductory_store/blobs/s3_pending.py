"""What clients send into a bucket, and no blob yet: `<prefix>inductory-uploads/<digest>/<upload>`."""

from __future__ import annotations

import logging
from io import BufferedReader
from typing import Any, BinaryIO, cast

from inductory_client.contract.digest import is_digest
from inductory_client.contract.errors import InductoryError, NotFound

from .bucket import Bucket
from .s3_faults import faults
from .s3_reading import ObjectFile
from .store import UploadAddress
from .unpacking import CHUNK_BYTES
from .upload_id import UploadId, new_upload_id

ADDRESS_S_MAX = 3600
"""Longer an address for sending doesn't live, however long those for reading do."""
SENDING_S_MAX = 3600
"""What is begun while its address lives may take so long, and be finished."""
_HEADERS = {
    "ContentType": "Content-Type",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
}
"""What an address is signed with, as it is sent."""

_log = logging.getLogger(__name__)


class PendingUploads:
    """Uploads on their way, below `prefix`: for DirectS3Blobs, which says what its methods do."""

    def __init__(self, client: Any, bucket: Bucket, prefix: str, direct_s: int) -> None:
        """An address lives `direct_s` seconds, and no longer than ADDRESS_S_MAX."""
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._expires_s = min(direct_s, ADDRESS_S_MAX)
        self._options = {"ContentType": "application/zstd", **encryption(bucket)}

    def offer(self, digest: str, size: int, packed_size: int, now: float) -> UploadAddress:
        upload = new_upload_id(now + self._expires_s + SENDING_S_MAX, size)
        # The length is signed, too: nothing longer is taken by this address.
        signed = {**self._target(digest, upload), **self._options, "ContentLength": packed_size}
        with faults("sign an address"):
            url: str = self._client.generate_presigned_url(
                "put_object", Params=signed, ExpiresIn=self._expires_s
            )
        headers = {_HEADERS[name]: value for name, value in self._options.items()}
        return UploadAddress(url, headers, self._expires_s, upload)

    def open(self, digest: str, upload: UploadId) -> BinaryIO:
        target = self._target(digest, upload)
        file = ObjectFile(
            lambda arguments: self._client.get_object(**target, **arguments), self._bucket.timeout_s
        )
        return cast(BinaryIO, BufferedReader(file, CHUNK_BYTES))

    def drop(self, digest: str, upload: UploadId) -> None:
        try:
            with faults("delete an upload"):
                self._client.delete_object(**self._target(digest, upload))
        except InductoryError as error:
            _log.warning("an upload of blob %s is left in the bucket: %s", digest, error)

    def _target(self, digest: str, upload: UploadId) -> dict[str, str]:
        if not is_digest(digest):
            raise NotFound(f"{digest!r} is not a digest")
        return {"Bucket": self._bucket.name, "Key": f"{self._prefix}{digest}/{upload}"}


def encryption(bucket: Bucket) -> dict[str, str]:
    """Return what the bucket is asked for with every object."""
    if bucket.encryption == "none":
        return {}
    key = {"SSEKMSKeyId": bucket.kms_key} if bucket.kms_key else {}
    return {"ServerSideEncryption": bucket.encryption, **key}
