"""What goes wrong with a bucket, in our words; the server's own go to the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from inductory_client.contract.errors import InductoryError, NotFound, StorageFailed, StorageFull
from urllib3.exceptions import HTTPError

_log = logging.getLogger(__name__)

_ABSENT = frozenset({"NoSuchKey", "NoSuchUpload", "404", "NotFound"})
"""The last two where an answer has no body, or isn't S3's: it may be the bucket that isn't there."""
_FULL = frozenset(
    {"InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"}
)
_DENIED = "the bucket doesn't let this store in, or not do this: look at its credentials and their rights"
_FAILED = "the bucket failed, or couldn't be reached"
_ELSEWHERE = "the bucket is in another region: set s3_region"
_REFUSED = "the bucket refuses what the settings ask of it, or doesn't know it; the log has its words"
_TRAILING = "the bucket refuses checksums that come after the bytes: set s3_checksums=when_required"
_WORDS = {
    "NoSuchBucket": "the bucket isn't there",
    "AccessDenied": _DENIED,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "ExpiredToken": _DENIED,
    "InvalidAccessKeyId": _DENIED,
    "MissingContentLength": _TRAILING,
    "PermanentRedirect": _ELSEWHERE,
    "RequestTimeTooSkewed": "this machine's clock and the bucket's are too far apart",
    "SignatureDoesNotMatch": _DENIED,
}
_STATUSES = {400: _REFUSED, 401: _DENIED, 403: _DENIED, 501: _REFUSED}
"""For what has no code of the above, or no body."""


@contextmanager
def faults(doing: str, *, may_be_absent: bool = False) -> Iterator[None]:
    """Turn whatever botocore raises inside into StorageFull or StorageFailed.

    Or into NotFound, where what is asked for may be absent and just that is said: a bucket that is away,
    refuses us or has another time isn't that.
    """
    try:
        yield
    except ClientError as error:
        raise _named(doing, error, may_be_absent) from error
    except NoCredentialsError as error:
        raise StorageFailed(
            "there are no credentials for the bucket: AWS's own settings name none"
        ) from error
    except (BotoCoreError, HTTPError, OSError) as error:
        _log.warning("S3 failed to %s: %s", doing, error)
        raise StorageFailed(_FAILED) from error


def _named(doing: str, error: ClientError, may_be_absent: bool) -> InductoryError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if may_be_absent and code in _ABSENT:
        return NotFound("the bucket has nothing by that name")
    _log.warning("S3 refused to %s: %s", doing, error)
    if code in _FULL or status == 507:
        return StorageFull()
    return StorageFailed(_WORDS.get(code) or _STATUSES.get(status, _FAILED))
