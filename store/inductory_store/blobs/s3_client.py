"""The client that speaks to a bucket. Credentials come from where AWS's own tools look for them, only."""

from __future__ import annotations

from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from inductory_client.contract.errors import BadSettings

from .bucket import Bucket
from .s3_admission import Admission, AdmittedClient

ATTEMPTS_MAX = 3
CONNECTIONS_MAX = 64
"""As many as threads may ask at a time: 40 that read, 16 that receive, and some."""


def make_client(bucket: Bucket) -> Any:
    """Return a client, which is safe for threads; nothing is asked yet. Raises BadSettings."""
    config = Config(
        signature_version="s3v4",
        connect_timeout=bucket.timeout_s,
        read_timeout=bucket.timeout_s,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS_MAX},
        max_pool_connections=CONNECTIONS_MAX,
        request_checksum_calculation=bucket.checksums,
        # Whatever is read is compared with its SHA-256.
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if bucket.path_style else "auto"},
    )
    try:
        client = Session().client(
            "s3",
            region_name=bucket.region or None,
            endpoint_url=bucket.endpoint_url or None,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise BadSettings(f"{bucket.url} can't be used: {error}") from error
    return AdmittedClient(client, Admission())
