"""Names of uploads: one spelling each, and back."""

from __future__ import annotations

import pytest
from inductory_store.blobs.upload_id import UploadId, new_upload_id, parse_upload_id

NONCE = "60303ae22b998861bce3b28f33eec1be"


def test_a_name_says_until_when_and_how_large_and_is_never_the_same() -> None:
    upload = new_upload_id(1_767_323_045.9, 1 << 30)
    assert (upload.finish_by, upload.size) == (1_767_323_045, 1 << 30)
    assert parse_upload_id(str(upload)) == upload
    assert new_upload_id(1_767_323_045.9, 1 << 30) != upload


@pytest.mark.parametrize("upload", [UploadId(0, 0, NONCE), UploadId((1 << 40) - 1, (1 << 36) - 1, NONCE)])
def test_bounds(upload: UploadId) -> None:
    assert parse_upload_id(str(upload)) == upload


@pytest.mark.parametrize(
    "text",
    [
        "",
        NONCE,
        f"5f-40-{NONCE[:-1]}",
        f"5f-40-{NONCE}0",
        f"05f-40-{NONCE}",
        f"5f-040-{NONCE}",
        f"5F-40-{NONCE}",
        f"-5f-40-{NONCE}",
        f"5f-40-{NONCE}\n",
        f"5f/40-{NONCE}",
        f"{'f' * 11}-40-{NONCE}",
    ],
)
def test_what_is_no_name(text: str) -> None:
    assert parse_upload_id(text) is None
