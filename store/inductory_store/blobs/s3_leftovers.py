"""What processes that died leave in a bucket: uploads that nobody completes or finishes, and probes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from inductory_client.contract.errors import NotFound

from .s3_faults import faults
from .upload_id import parse_upload_id

LEFT_SECONDS_MAX = 3600.0
"""What nobody has added to for so long belongs to a process that died."""


def sweep_uploads(client: Any, name: str, prefix: str, is_ours: Callable[[str], bool], now: float) -> int:
    """Abort our uploads below `prefix` that nobody goes on with; return how many those were."""
    swept = 0
    for target, begun in _uploads(client, name, prefix):
        if not is_ours(target["Key"]):
            continue
        # A slow sender may take hours: what counts is when the last part came.
        if now - begun > LEFT_SECONDS_MAX and now - _last_part(client, target, begun) > LEFT_SECONDS_MAX:
            # Somebody else may sweep at the same time.
            with suppress(NotFound), faults("abort an upload", may_be_absent=True):
                client.abort_multipart_upload(**target)
            swept += 1
    return swept


def sweep_probes(client: Any, name: str, prefix: str, now: float) -> int:
    """Delete the old objects below `prefix`; return how many those were."""
    swept = 0
    for found in listed(client, "list_objects_v2", "Contents", Bucket=name, Prefix=prefix):
        if now - found["LastModified"].timestamp() > LEFT_SECONDS_MAX:
            with faults("delete a probe"):
                client.delete_object(Bucket=name, Key=found["Key"])
            swept += 1
    return swept


def sweep_pending(client: Any, name: str, prefix: str, now: float) -> int:
    """Delete what clients sent below `prefix` and can't finish any more; return how many those were."""
    swept = 0
    for found in listed(client, "list_objects_v2", "Contents", Bucket=name, Prefix=prefix):
        upload = parse_upload_id(found["Key"].rpartition("/")[2])
        if upload is not None and upload.finish_by < now:
            with faults("delete an upload"):
                client.delete_object(Bucket=name, Key=found["Key"])
            swept += 1
    return swept


def listed(client: Any, operation: str, what: str, **arguments: str) -> Iterator[Any]:
    """Yield all that is listed, page by page. Raises StorageFailed, and NotFound for an upload."""
    pages = iter(client.get_paginator(operation).paginate(**arguments))
    while True:
        with faults("list the bucket", may_be_absent="UploadId" in arguments):
            page = next(pages, None)
        if page is None:
            return
        yield from page.get(what, ())


def _uploads(client: Any, name: str, prefix: str) -> Iterator[tuple[dict[str, str], float]]:
    """Yield each upload that was begun and not completed, and when."""
    for found in listed(client, "list_multipart_uploads", "Uploads", Bucket=name, Prefix=prefix):
        target = {"Bucket": name, "Key": found["Key"], "UploadId": found["UploadId"]}
        yield target, found["Initiated"].timestamp()


def _last_part(client: Any, target: dict[str, str], begun: float) -> float:
    """When the last part of an upload came; it is still to come where somebody else ended it meanwhile."""
    try:
        parts = listed(client, "list_parts", "Parts", **target)
        return max((part["LastModified"].timestamp() for part in parts), default=begun)
    except NotFound:
        return float("inf")
