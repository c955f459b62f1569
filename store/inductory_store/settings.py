"""Settings of a store process: read once, frozen, unknown names refused."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from inductory_client.contract.descriptor import BLOB_BYTES_MAX
from inductory_client.contract.digest import is_digest
from inductory_client.contract.errors import BadSettings

from .blobs.bucket import Bucket, name_and_prefix
from .upstream.exchange import split_address

PREFIX = "INDUCTORY_STORE_"
CLIENTS = frozenset({"INDUCTORY_STORE_DEADLINE_S"})
"""Settings of clients that begin as ours do; a machine may run both."""
_POSITIVE = (
    "database_connections_max",
    "event_days",
    "uploads_max",
    "messages_max",
    "connections_max",
    "body_idle_s",
    "body_bytes_per_s_min",
    "upstream_timeout_s",
    "upstream_wait_s",
)
_LARGEST = 1 << 31
GRACE_S_MIN = 12 * 3600.0
"""Uses are noted within six hours, and a blob may take five to arrive."""


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """What a store process is told. Every field is also an environment variable, INDUCTORY_STORE_<NAME>."""

    data_dir: Path = field(default_factory=lambda: Path("inductory-data"))
    database_url: str = ""
    """`postgresql://...` or `sqlite:///...`; empty for `catalog.sqlite3` in the data folder."""
    database_connections_max: int = 16
    """Connections to the catalog that are kept; who finds none free waits."""
    blobs_url: str = ""
    """s3://bucket/prefix; empty for the data folder. AWS's own settings have the credentials."""
    s3_endpoint_url: str = ""
    """Empty for AWS."""
    s3_region: str = ""
    """Empty for what AWS's own settings say."""
    s3_path_style: bool = False
    """Name the bucket in the path of addresses, not in their host."""
    s3_checksums: str = "when_supported"
    """Or `when_required`, for servers that refuse trailing checksums, as radosgw does over TLS."""
    s3_encryption: str = "none"
    """Or `AES256` or `aws:kms`, asked of the bucket for each blob."""
    s3_kms_key: str = ""
    """Empty for the bucket's own key."""
    s3_timeout_s: float = 10.0
    """Longest wait for a connection to the bucket, or for what comes next over one."""
    s3_redirect: bool = False
    """Have large blobs travel between clients and the bucket."""
    s3_redirect_s: int = 300
    """How long such an address lives."""
    host: str = "127.0.0.1"
    port: int = 8765
    """0 takes a free port."""
    blob_bytes_max: int = BLOB_BYTES_MAX
    """Largest blob, uncompressed."""
    inline_bytes_total_max: int = 8 << 20
    """Most packed bytes that travel inside one answer to `artifacts:resolve`."""
    signers: tuple[str, ...] = ()
    """Digests of the public keys whose artifacts are taken; empty for any with a valid signature."""
    event_days: int = 30
    """How long the minutes of events are kept."""
    gc_grace_s: float = 86_400.0
    """How long what is condemned awaits deletion: no upload, bundle or start takes as long."""
    uploads_max: int = 16
    """Blobs received at a time; more wait for their turn."""
    messages_max: int = 8
    """Long messages received at a time; more wait for their turn."""
    connections_max: int = 1024
    """Connections at a time; more are answered 503."""
    body_idle_s: float = 30.0
    """Longest silence in the middle of a body, and what the headers of a request may take."""
    body_bytes_per_s_min: int = 64 << 10
    """Least rate of a body that takes longer than that silence."""
    upstream_url: str = ""
    """The store that this one pulls from; empty for a store that stands alone."""
    upstream_timeout_s: float = 5.0
    """Longest silence of upstream's."""
    upstream_wait_s: float = 60.0
    """Longest that a request waits for what is being pulled; then it is answered from what is here."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise BadSettings(f"port must be 0 to 65535, not {self.port}")
        if not 0 < self.blob_bytes_max <= BLOB_BYTES_MAX:
            raise BadSettings(f"blob_bytes_max must be 1 to {BLOB_BYTES_MAX}, not {self.blob_bytes_max}")
        for name in _POSITIVE:
            if not 0 < getattr(self, name) <= _LARGEST:
                raise BadSettings(f"{name} must be more than 0 and finite, not {getattr(self, name)}")
        if self.inline_bytes_total_max < 0:
            raise BadSettings("inline_bytes_total_max can't be negative")
        if not GRACE_S_MIN <= self.gc_grace_s <= _LARGEST:
            raise BadSettings(f"gc_grace_s must be at least {GRACE_S_MIN:.0f}, not {self.gc_grace_s}")
        for signer in self.signers:
            if not is_digest(signer):
                raise BadSettings(f"{signer!r} is not a signer: give the SHA-256 of its raw public key")
        _ = self.bucket  # makes sense of what is said of it
        if self.upstream_url:
            split_address(self.upstream_url)

    @property
    def catalog_url(self) -> str:
        """Where the catalog is, as an SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'catalog.sqlite3'}"

    @property
    def bucket(self) -> Bucket | None:
        """The bucket with the blobs, or None where they are in the data folder. Raises BadSettings."""
        if not self.blobs_url:
            return None
        name, prefix = name_and_prefix(self.blobs_url)
        return Bucket(
            name=name,
            prefix=prefix,
            endpoint_url=self.s3_endpoint_url,
            region=self.s3_region,
            path_style=self.s3_path_style,
            checksums=self.s3_checksums,
            encryption=self.s3_encryption,
            kms_key=self.s3_kms_key,
            timeout_s=self.s3_timeout_s,
            redirect_s=self.s3_redirect_s if self.s3_redirect else None,
        )

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> StoreSettings:
        """Read INDUCTORY_STORE_* and `overrides`, which win. Raises BadSettings for what makes no sense."""
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for variable, text in sorted(environ.items()):
            if variable.startswith(PREFIX) and variable not in CLIENTS:
                name = variable.removeprefix(PREFIX).lower()
                values[name] = _parse(name, text)
        for name, value in overrides.items():
            _check_name(name)
            values[name] = value
        return cls(**values)


def _parse(name: str, text: str) -> Any:
    _check_name(name)
    if name == "port" and "://" in text:
        raise BadSettings(
            f"{PREFIX}PORT={text!r} is what Kubernetes tells of a Service named inductory-store: set "
            "enableServiceLinks: false for this pod, or give the Service another name"
        )
    try:
        return _READERS.get(name, str)(text)
    except ValueError as error:
        kind = "on or off" if _READERS.get(name) is _switch else "a number"
        raise BadSettings(f"{PREFIX}{name.upper()}={text!r} is not {kind}") from error


def _check_name(name: str) -> None:
    known = [each.name for each in fields(StoreSettings)]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadSettings(f"the store has no setting {name!r}{hint}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError
    return text == "on"


_READERS: dict[str, Callable[[str], Any]] = {
    "data_dir": Path,
    "database_connections_max": int,
    "s3_path_style": _switch,
    "s3_timeout_s": float,
    "s3_redirect": _switch,
    "s3_redirect_s": int,
    "port": int,
    "blob_bytes_max": int,
    "inline_bytes_total_max": int,
    "signers": _names,
    "event_days": int,
    "gc_grace_s": float,
    "uploads_max": int,
    "messages_max": int,
    "connections_max": int,
    "body_idle_s": float,
    "body_bytes_per_s_min": int,
    "upstream_timeout_s": float,
    "upstream_wait_s": float,
}
