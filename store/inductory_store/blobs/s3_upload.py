"""Bytes of a length nobody knows yet on their way into a bucket."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from inductory_client.contract.errors import InductoryError

from .s3_faults import faults

PART_BYTES = 8 << 20
"""What is kept in memory, and sent at a time. S3 takes 5 MiB at least, and some servers count to 1,000."""

_log = logging.getLogger(__name__)


def upload(client: Any, target: dict[str, str], options: dict[str, str], chunks: Iterable[bytes]) -> int:
    """Make the object `target` of all the chunks, and return its length.

    Atomic: the object is there once the last chunk was taken, and nothing is left where taking one, or the
    bucket, fails. `options` are for whichever request makes the object. Raises StorageFailed and StorageFull.
    """
    buffer = bytearray()
    multipart: _Multipart | None = None
    try:
        for chunk in chunks:
            # A part goes only when more comes: the last one waits for the end.
            if len(buffer) >= PART_BYTES:
                multipart = multipart or _Multipart(client, target, options)
                multipart.send(bytes(buffer))
                buffer.clear()
            buffer += chunk
        if multipart is None:
            with faults("write a blob"):
                client.put_object(**target, **options, Body=bytes(buffer))
            return len(buffer)
        multipart.send(bytes(buffer))
        return multipart.complete()
    except BaseException:
        if multipart is not None:
            multipart.abort()
        raise


class _Multipart:
    """An upload in parts: nothing is there under its name until it is completed."""

    def __init__(self, client: Any, target: dict[str, str], options: dict[str, str]) -> None:
        self._client = client
        self._parts: list[dict[str, Any]] = []
        self._size = 0
        with faults("begin an upload"):
            begun = client.create_multipart_upload(**target, **options)
        self._upload = {**target, "UploadId": begun["UploadId"]}

    def send(self, data: bytes) -> None:
        number = len(self._parts) + 1
        with faults("write a part of a blob"):
            sent = self._client.upload_part(**self._upload, PartNumber=number, Body=data)
        part = {"PartNumber": number, "ETag": sent["ETag"]}
        # Where botocore made a checksum, the bucket wants it named again.
        part |= {name: value for name, value in sent.items() if name == "ChecksumCRC32"}
        self._parts.append(part)
        self._size += len(data)

    def complete(self) -> int:
        with faults("complete an upload"):
            self._client.complete_multipart_upload(**self._upload, MultipartUpload={"Parts": self._parts})
        return self._size

    def abort(self) -> None:
        """Give the parts up. Where that fails too, a later sweep does it."""
        try:
            with faults("abort an upload"):
                self._client.abort_multipart_upload(**self._upload)
        except InductoryError as error:
            _log.warning("parts of an upload are left in the bucket: %s", error)
