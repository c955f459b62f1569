"""A bucket at a real server, for tests: the store's way to it, and ways to meddle with what is in it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import Any, Self

from boto3.session import Session
from botocore.config import Config
from inductory_client.contract.digest import digest_of
from inductory_store.settings import StoreSettings


@dataclass(frozen=True)
class S3Server:
    """Where a server is, and who may use it."""

    endpoint: str
    access_key: str
    secret: str
    guest: str
    """Somebody who may not use the buckets of tests."""
    guest_secret: str
    region: str
    takes_trailers: bool
    """Whether checksums may come after the bytes."""

    def client(self) -> Any:
        """A way to the server beside the store's; to be closed."""
        return Session(self.access_key, self.secret, region_name=self.region).client(
            "s3",
            endpoint_url=self.endpoint,
            config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
        )


@dataclass(frozen=True)
class OwnBucket:
    """A bucket, or what begins with `prefix` in it, which keeps tests apart."""

    server: S3Server
    client: Any
    name: str = field(default_factory=lambda: f"blobs-{uuid.uuid4()}")
    prefix: str = ""

    def make(self) -> Self:
        self.client.create_bucket(Bucket=self.name)
        return self

    def apart(self) -> Self:
        """The same bucket, with a prefix that nobody has."""
        return replace(self, prefix=f"tests/{uuid.uuid4()}/")

    def through(self, endpoint: str) -> Self:
        """The same bucket, for a store that reaches it by another address."""
        return replace(self, server=replace(self.server, endpoint=endpoint))

    @property
    def environ(self) -> dict[str, str]:
        """What a store process is told."""
        return {
            "INDUCTORY_STORE_BLOBS_URL": f"s3://{self.name}/{self.prefix}",
            "INDUCTORY_STORE_S3_ENDPOINT_URL": self.server.endpoint,
            "INDUCTORY_STORE_S3_PATH_STYLE": "on",
            **self.credentials,
        }

    @property
    def credentials(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.secret,
            "AWS_DEFAULT_REGION": self.server.region,
        }

    def settings(self, **changes: Any) -> StoreSettings:
        return StoreSettings.load(self.environ, **changes)

    def key_of(self, data: bytes) -> str:
        digest = digest_of(data)
        return f"{self.prefix}cas/sha256/{digest[:2]}/{digest}.zst"

    def keys(self, prefix: str | None = None) -> list[str]:
        """The first keys below the prefix, or another one."""
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix or self.prefix)
        return [each["Key"] for each in found.get("Contents", ())]

    def uploads(self) -> list[str]:
        """Keys of uploads that were begun and not completed."""
        found = self.client.list_multipart_uploads(Bucket=self.name, Prefix=self.prefix)
        return [each["Key"] for each in found.get("Uploads", ())]

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)
