"""A bucket, and how it is spoken to: values only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from inductory_client.contract.errors import BadSettings

CHECKSUMS = ("when_supported", "when_required")
ENCRYPTIONS = ("none", "AES256", "aws:kms")
REDIRECT_S_MAX = 7 * 86400
"""Longer no presigned address may live, says S3."""
TIMEOUT_S_MAX = 600.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Where in S3 blobs are, and how to speak to it. Raises BadSettings for what makes no sense."""

    name: str
    prefix: str
    """What every key begins with: empty, or with a slash at its end."""
    endpoint_url: str
    """Empty for AWS."""
    region: str
    """Empty for what AWS's own settings say."""
    path_style: bool
    checksums: str
    encryption: str
    kms_key: str
    timeout_s: float
    redirect_s: int | None
    """How long a presigned address lives; None where readers aren't sent to the bucket."""

    def __post_init__(self) -> None:
        endpoint = urlsplit(self.endpoint_url)
        if self.endpoint_url and (endpoint.scheme not in ("http", "https") or not endpoint.hostname):
            raise BadSettings(f"s3_endpoint_url must be http(s)://host[:port], not {self.endpoint_url!r}")
        if self.checksums not in CHECKSUMS:
            raise BadSettings(f"s3_checksums must be one of {', '.join(CHECKSUMS)}, not {self.checksums!r}")
        if self.encryption not in ENCRYPTIONS:
            raise BadSettings(
                f"s3_encryption must be one of {', '.join(ENCRYPTIONS)}, not {self.encryption!r}"
            )
        if self.kms_key and self.encryption != "aws:kms":
            raise BadSettings("s3_kms_key is of use with s3_encryption=aws:kms only")
        if not 0 < self.timeout_s <= TIMEOUT_S_MAX:
            raise BadSettings(f"s3_timeout_s must be more than 0 and at most {TIMEOUT_S_MAX:.0f}")
        if self.redirect_s is not None and not 0 < self.redirect_s <= REDIRECT_S_MAX:
            raise BadSettings(f"s3_redirect_s must be 1 to {REDIRECT_S_MAX}, not {self.redirect_s}")

    @property
    def url(self) -> str:
        """How people write it."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/")


def name_and_prefix(url: str) -> tuple[str, str]:
    """Split `s3://name/prefix`; the prefix comes with a slash at its end. Raises BadSettings."""
    scheme, _, rest = url.partition("://")
    name, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if scheme != "s3" or not _NAME.fullmatch(name) or (prefix and not _PREFIX.fullmatch(prefix)):
        raise BadSettings(f"blobs_url must be s3://bucket or s3://bucket/prefix, not {url!r}")
    return name, f"{prefix}/" if prefix else ""
