"""Blobs in a bucket: `<prefix>cas/sha256/ab/ab12....zst`, so that `zstd -dc | sha256sum` audits it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator
from io import BufferedReader
from typing import BinaryIO, cast

from inductory_client.contract.digest import is_digest
from inductory_client.contract.errors import InductoryError, NotFound, StorageFailed

from .bucket import Bucket
from .disk import MARKER
from .s3_client import make_client
from .s3_faults import faults
from .s3_leftovers import listed, sweep_pending, sweep_probes, sweep_uploads
from .s3_pending import PendingUploads, encryption
from .s3_reading import ObjectFile
from .s3_upload import upload
from .store import BlobStat, UploadAddress
from .unpacking import CHUNK_BYTES, verified
from .upload_id import UploadId

_log = logging.getLogger(__name__)


class S3Blobs:
    """A BlobStore in a bucket, which any number of processes may share.

    An object appears whole or not at all, so nothing is staged. A bucket that is away, refuses us or fails is
    StorageFailed, and no blob is taken for lost; only a key that isn't in a bucket which is there is absent.
    The bucket's ETags are of its own making, and never taken for what a blob is.
    """

    def __init__(self, bucket: Bucket, *, filled: bool = False) -> None:
        """Look whether the bucket is there; `filled` says that blobs must be. Raises StorageFailed."""
        self._bucket = bucket
        self._client = make_client(bucket)
        self._root = f"{bucket.prefix}cas/sha256/"
        self._probes = f"{bucket.prefix}inductory-probe/"
        self._pending = f"{bucket.prefix}inductory-uploads/"
        self._options = {"ContentType": "application/zstd", **encryption(bucket), **_checksums(bucket)}
        try:
            self._check_usable(filled)
        except InductoryError:
            self.close()
            raise

    def put(self, digest: str, size: int, packed: Iterable[bytes]) -> BlobStat:
        target = self._target(digest)
        return BlobStat(upload(self._client, target, self._options, verified(packed, digest, size)))

    def open(self, digest: str) -> BinaryIO:
        target = self._target(digest)
        try:
            file = ObjectFile(
                lambda arguments: self._client.get_object(**target, **arguments), self._bucket.timeout_s
            )
        except NotFound:
            # Not every 404 comes from a bucket that is there: this one does, if that answers.
            self._is_empty()
            raise NotFound(f"there is no blob {digest}") from None
        return cast(BinaryIO, BufferedReader(file, CHUNK_BYTES))

    def stat(self, digest: str) -> BlobStat | None:
        target = self._target(digest)
        try:
            with faults("look at a blob", may_be_absent=True):
                return BlobStat(self._client.head_object(**target)["ContentLength"])
        except NotFound:
            # As above; and an answer to HEAD has no body to say more.
            self._is_empty()
            return None

    def delete(self, digest: str) -> bool:
        # S3 doesn't say whether there was anything to delete.
        if self.stat(digest) is None:
            return False
        with faults("delete a blob"):
            self._client.delete_object(**self._target(digest))
        return True

    def list(self) -> Iterator[str]:
        found = listed(
            self._client, "list_objects_v2", "Contents", Bucket=self._bucket.name, Prefix=self._root
        )
        for each in found:
            if self._is_ours(each["Key"]):
                yield _digest_in(each["Key"])

    def check(self) -> None:
        probe = {"Bucket": self._bucket.name, "Key": f"{self._probes}{uuid.uuid4()}"}
        with faults("write a probe"):
            self._client.put_object(**probe, **self._options, Body=b"inductory")
        with faults("delete a probe"):
            self._client.delete_object(**probe)

    def sweep_incoming(self, now: float) -> int:
        """Remove what processes that died left in the bucket; return how many things that were.

        What the store may not list or remove is left to the bucket's own rules, and the log says so.
        """
        client, name = self._client, self._bucket.name
        try:
            swept = sweep_uploads(client, name, self._root, self._is_ours, now)
            swept += sweep_pending(client, name, self._pending, now)
            return swept + sweep_probes(client, name, self._probes, now)
        except InductoryError as error:
            _log.warning("what dead processes left in %s wasn't removed: %s", self._bucket.url, error)
            return 0

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _key(self, digest: str) -> str:
        return f"{self._root}{digest[:2]}/{digest}.zst"

    def _is_ours(self, key: str) -> bool:
        """Whether a key is a blob's. Others may share the bucket."""
        digest = _digest_in(key)
        return is_digest(digest) and key == self._key(digest)

    def _target(self, digest: str) -> dict[str, str]:
        if not is_digest(digest):
            raise NotFound(f"{digest!r} is not a digest")
        return {"Bucket": self._bucket.name, "Key": self._key(digest)}

    def _is_empty(self) -> bool:
        """Whether nothing is where the blobs are. Raises StorageFailed where the bucket isn't there."""
        with faults("look at the bucket"):
            found = self._client.list_objects_v2(Bucket=self._bucket.name, Prefix=self._root, MaxKeys=1)
        return not found.get("Contents")

    def _check_usable(self, filled: bool) -> None:
        try:
            empty = self._is_empty()
        except InductoryError as error:
            raise StorageFailed(f"{self._bucket.url} can't be used: {error}") from error
        if filled and empty:
            raise StorageFailed(
                f"the catalog promises blobs, and {self._bucket.url} has none: name the bucket with them, or "
                f"put an object {self._root}{MARKER} into this one to go on with what is there"
            )


class DirectS3Blobs(S3Blobs):
    """Blobs in a bucket that others may reach themselves: it has DirectUrls and DirectUploads besides."""

    def __init__(self, bucket: Bucket, direct_s: int, *, filled: bool = False) -> None:
        """As S3Blobs; an address lives `direct_s` seconds."""
        super().__init__(bucket, filled=filled)
        self._direct_s = direct_s
        self._uploads = PendingUploads(self._client, bucket, self._pending, direct_s)

    def direct_url(self, digest: str) -> str:
        # The bucket's answer is to be what ours would have been: for HTTP, a packed blob is an encoded one.
        headers = {
            "ResponseContentEncoding": "zstd",
            "ResponseContentType": "application/octet-stream",
            "ResponseCacheControl": "public, max-age=31536000, immutable",
        }
        with faults("sign an address"):
            url: str = self._client.generate_presigned_url(
                "get_object", Params={**self._target(digest), **headers}, ExpiresIn=self._direct_s
            )
        return url

    def offer_upload(self, digest: str, size: int, packed_size: int, now: float) -> UploadAddress:
        return self._uploads.offer(digest, size, packed_size, now)

    def open_upload(self, digest: str, upload: UploadId) -> BinaryIO:
        return self._uploads.open(digest, upload)

    def drop_upload(self, digest: str, upload: UploadId) -> None:
        self._uploads.drop(digest, upload)


def _digest_in(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".zst")


def _checksums(bucket: Bucket) -> dict[str, str]:
    """What botocore adds to bytes by itself must be said of an upload when it begins."""
    return {"ChecksumAlgorithm": "CRC32"} if bucket.checksums == "when_supported" else {}
