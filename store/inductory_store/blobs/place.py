"""Which place for blobs a store was told to use."""

from __future__ import annotations

from inductory_store.settings import StoreSettings

from .disk import DiskBlobs
from .store import KeptBlobs


def open_blobs(settings: StoreSettings, *, filled: bool = False) -> KeptBlobs:
    """Open it; `filled` says that the catalog promises blobs. Raises StorageFailed where it isn't there."""
    bucket = settings.bucket
    if bucket is None:
        return DiskBlobs(settings.data_dir, filled=filled)
    # What speaks S3 takes half a second and 40 MB to import.
    from .s3 import DirectS3Blobs, S3Blobs

    if bucket.redirect_s is None:
        return S3Blobs(bucket, filled=filled)
    return DirectS3Blobs(bucket, bucket.redirect_s, filled=filled)
