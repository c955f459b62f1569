"""The store's settings: one frozen object, nothing unknown, nothing that makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest
from inductory_client.contract.errors import BadSettings
from inductory_store.catalog.catalog import Catalog
from inductory_store.catalog.migrate import address_of
from inductory_store.settings import StoreSettings

BUCKET = {"INDUCTORY_STORE_BLOBS_URL": "s3://bucket"}
REDIRECT = {"INDUCTORY_STORE_S3_REDIRECT": "on"}


def test_defaults_need_no_configuration() -> None:
    settings = StoreSettings.load({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8765)
    assert settings.bucket is None
    assert settings.catalog_url.startswith("sqlite:////")
    assert settings.catalog_url.endswith("/inductory-data/catalog.sqlite3")


def test_the_environment_and_what_wins_over_it() -> None:
    environ = {
        "INDUCTORY_STORE_DATA_DIR": "/srv/store",
        "INDUCTORY_STORE_PORT": "80",
        "INDUCTORY_STORE_SIGNERS": f"{'ab' * 32}, {'cd' * 32},",
        "INDUCTORY_STORE_BODY_IDLE_S": "2.5",
        "INDUCTORY_URL": "another part's",
    }
    settings = StoreSettings.load(environ, port=81)
    assert settings.data_dir == Path("/srv/store")
    assert settings.port == 81
    assert settings.signers == ("ab" * 32, "cd" * 32)
    assert settings.body_idle_s == 2.5


@pytest.mark.parametrize(
    ("url", "name", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://bucket/a", "bucket", "a/"),
        ("s3://bucket/a/b/", "bucket", "a/b/"),
    ],
)
def test_a_bucket_and_what_its_keys_begin_with(url: str, name: str, prefix: str) -> None:
    bucket = StoreSettings.load({**BUCKET, "INDUCTORY_STORE_BLOBS_URL": url}).bucket
    assert bucket is not None
    assert (bucket.name, bucket.prefix, bucket.redirect_s) == (name, prefix, None)
    assert bucket.url == url.rstrip("/")


def test_readers_are_sent_to_the_bucket_only_where_that_is_said() -> None:
    bucket = StoreSettings.load({**BUCKET, **REDIRECT}).bucket
    assert bucket is not None
    assert bucket.redirect_s == 300


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"INDUCTORY_STORE_DATADIR": "/x"}, "did you mean data_dir"),
        ({"INDUCTORY_STORE_PORT": "http"}, "not a number"),
        ({"INDUCTORY_STORE_PORT": "tcp://10.0.0.1:8765"}, "enableServiceLinks: false"),
        ({"INDUCTORY_STORE_PORT": "70000"}, "port must be"),
        ({"INDUCTORY_STORE_BLOB_BYTES_MAX": "0"}, "blob_bytes_max must be"),
        ({"INDUCTORY_STORE_SIGNERS": "alice"}, "'alice' is not a signer"),
        ({"INDUCTORY_STORE_EVENT_DAYS": "0"}, "event_days must be"),
        ({"INDUCTORY_STORE_DATABASE_CONNECTIONS_MAX": "0"}, "database_connections_max must be"),
        ({"INDUCTORY_STORE_BODY_IDLE_S": "nan"}, "body_idle_s must be"),
        ({"INDUCTORY_STORE_BODY_IDLE_S": "inf"}, "body_idle_s must be"),
        ({"INDUCTORY_STORE_BODY_BYTES_PER_S_MIN": "0"}, "body_bytes_per_s_min must be"),
        ({"INDUCTORY_STORE_INLINE_BYTES_TOTAL_MAX": "-1"}, "can't be negative"),
        ({"INDUCTORY_STORE_BLOBS_URL": "https://bucket"}, "blobs_url must be s3://bucket"),
        ({"INDUCTORY_STORE_BLOBS_URL": "s3://"}, "blobs_url must be s3://bucket"),
        ({"INDUCTORY_STORE_BLOBS_URL": "s3://bucket//x"}, "blobs_url must be s3://bucket"),
        ({"INDUCTORY_STORE_BLOBS_URL": "s3://bucket/a b"}, "blobs_url must be s3://bucket"),
        ({**BUCKET, "INDUCTORY_STORE_S3_ENDPOINT_URL": "minio:9000"}, "s3_endpoint_url must be"),
        ({**BUCKET, "INDUCTORY_STORE_S3_CHECKSUMS": "never"}, "s3_checksums must be one of"),
        ({**BUCKET, "INDUCTORY_STORE_S3_ENCRYPTION": "rot13"}, "s3_encryption must be one of"),
        ({**BUCKET, "INDUCTORY_STORE_S3_KMS_KEY": "key"}, "of use with s3_encryption=aws:kms only"),
        ({**BUCKET, "INDUCTORY_STORE_S3_TIMEOUT_S": "nan"}, "s3_timeout_s must be"),
        ({**BUCKET, **REDIRECT, "INDUCTORY_STORE_S3_REDIRECT_S": "604801"}, "s3_redirect_s must be"),
        ({"INDUCTORY_STORE_S3_REDIRECT": "yes"}, "not on or off"),
        ({"INDUCTORY_STORE_S3_REDIRECTS": "on"}, "did you mean s3_redirect"),
    ],
)
def test_what_makes_no_sense_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(BadSettings, match=words):
        StoreSettings.load(environ)


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(BadSettings, match="no setting 'ports'; did you mean port"):
        StoreSettings.load({}, ports=1)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "nosuchdatabase://x:secret@y/z", "mysql://x:secret@y/z", "postgresql+asyncpg://x:secret@y"],
)
def test_a_database_that_cannot_be_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadSettings, match="database_url") as refused:
        Catalog(url)
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_by_psycopg_3(scheme: str) -> None:
    catalog = Catalog(f"{scheme}://store:secret@db.example/inductory?application_name=mine", 3)
    assert (catalog.engine.url.drivername, catalog.engine.driver) == ("postgresql+psycopg", "psycopg")
    assert "secret" not in address_of(catalog.engine)
    catalog.close()


@pytest.mark.parametrize("name", ["password", "sslpassword"])
def test_a_password_among_an_addresss_parameters_is_not_told(name: str) -> None:
    catalog = Catalog(f"postgresql://db.example/inductory?{name}=secret")
    assert address_of(catalog.engine) == "postgresql+psycopg://db.example/inductory"
    catalog.close()
