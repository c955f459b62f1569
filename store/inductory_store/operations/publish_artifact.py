"""Publishing an artifact: blobs first, the row after; the first writer wins."""

from __future__ import annotations

from inductory_client.contract import wire
from inductory_client.contract.agreement import compare
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.errors import KeyMismatch, UntrustedSigner
from inductory_client.contract.statement import verify_signature
from inductory_client.contract.wire import Published

from inductory_store.catalog.artifacts import (
    add_artifact,
    artifact_records,
    hold_artifact,
    replace_artifact,
)
from inductory_store.catalog.leases import forget_key
from inductory_store.catalog.lifetimes import note_used
from inductory_store.catalog.repeats import add_repeat, forget_repeats
from inductory_store.store import Store

from .lease_keys import check_lease
from .promised import check_blobs


def publish_artifact(
    store: Store, namespace: str, key: str, value: Artifact, lease: str | None = None
) -> Published:
    """Keep a signed artifact under its key; where one is there, compare, and note in what they differ.

    The row is the commit point. Idempotent: the very same record is noted and counted once. An artifact whose
    bytes were lost is replaced, and one that awaits deletion is kept on. While somebody has a lease of the
    key, only what comes with the lease's token is kept; the lease ends with it. Raises KeyMismatch,
    BadSignature, UntrustedSigner, BlobMissing, SizeMismatch, LeaseHeld and StaleLease.
    """
    if value.key != key:
        raise KeyMismatch(f"what was sent has the key {value.key}")
    verify_signature(value.signature, value.subject.signed_bytes)
    signer, allowed = value.signature.signer, store.settings.signers
    if allowed and signer not in allowed:
        raise UntrustedSigner(f"this store doesn't take artifacts that {signer} signed")
    with store.catalog.write() as connection:
        check_blobs(connection, value.subject.descriptors)
        if not hold_artifact(connection, namespace, key):
            check_lease(connection, store, namespace, key, lease)
            if add_artifact(connection, namespace, value, store.clock()):
                forget_key(connection, namespace, key)
                return Published(key=key, outcome="created", signer=signer)
            # Another store was first, between the two statements: what it kept is held from here on.
            hold_artifact(connection, namespace, key)
        first = artifact_records(connection, namespace, [key], bytes_max=wire.MESSAGE_BYTES_MAX).get(key)
        if first is None:
            check_lease(connection, store, namespace, key, lease)
            forget_key(connection, namespace, key)
            replace_artifact(connection, namespace, value, store.clock())
            forget_repeats(connection, namespace, key)
            return Published(key=key, outcome="created", signer=signer)
        kept = wire.decode(first, Artifact)
        comparison = compare(kept.subject, value.subject)
        note_used(connection, "artifact", namespace, [key], store.clock())
        if first != wire.encode(value):
            add_repeat(connection, namespace, value, comparison, store.clock())
    return Published(
        key=key,
        outcome="different" if comparison.differing else "reproduced",
        signer=kept.signature.signer,
        comparison=comparison,
    )
