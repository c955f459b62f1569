"""Publishing an artifact: blobs first, the row after; the first writer wins."""

from __future__ import annotations

from collections.abc import Sequence

from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact, Subject
from inductory_client.contract.descriptor import Descriptor
from inductory_client.contract.errors import KeyMismatch, UntrustedSigner
from inductory_client.contract.statement import verify_signature
from inductory_client.contract.wire import Published

from inductory_store.catalog.artifacts import (
    add_artifact,
    artifact_records,
    count_again,
    known_artifacts,
    replace_artifact,
)
from inductory_store.store import Store

from .promised import check_blobs


def publish_artifact(store: Store, namespace: str, key: str, value: Artifact) -> Published:
    """Keep a signed artifact under its key; where one is there, compare and count.

    The row is the commit point. Idempotent: the very same record counts nothing again. An artifact whose
    bytes were lost is replaced. Raises KeyMismatch, BadSignature, UntrustedSigner, BlobMissing, SizeMismatch.
    """
    if value.key != key:
        raise KeyMismatch(f"what was sent has the key {value.key}")
    verify_signature(value.signature, value.subject.signed_bytes)
    signer, allowed = value.signature.signer, store.settings.signers
    if allowed and signer not in allowed:
        raise UntrustedSigner(f"this store doesn't take artifacts that {signer} signed")
    with store.catalog.write() as connection:
        check_blobs(connection, value.subject.descriptors)
        there = artifact_records(connection, namespace, [key], bytes_max=wire.MESSAGE_BYTES_MAX).get(key)
        if there is None and known_artifacts(connection, namespace, [key]):
            replace_artifact(connection, namespace, value, store.clock())
            return Published(key=key, outcome="created", signer=signer)
        if there is None and add_artifact(connection, namespace, value, store.clock()):
            return Published(key=key, outcome="created", signer=signer)
        first = there or artifact_records(connection, namespace, [key], bytes_max=wire.MESSAGE_BYTES_MAX)[key]
        kept = wire.decode(first, Artifact)
        differing = differences(kept.subject, value.subject)
        if first != wire.encode(value):
            count_again(connection, namespace, key, equal=not differing)
    return Published(
        key=key,
        outcome="different" if differing else "reproduced",
        signer=kept.signature.signer,
        differences=differing,
    )


def differences(first: Subject, second: Subject) -> tuple[str, ...]:
    """Return names or media types of the blobs in which two artifacts of one key differ."""
    ours, theirs = _named(first.descriptors), _named(second.descriptors)
    names = {
        media_type: None for media_type in (*ours, *theirs) if ours.get(media_type) != theirs.get(media_type)
    }
    return (*names, *(("guards",) if first.guards != second.guards else ()))


def _named(descriptors: Sequence[Descriptor]) -> dict[str, set[str]]:
    named: dict[str, set[str]] = {}
    for each in descriptors:
        named.setdefault(each.name or each.media_type, set()).add(each.digest)
    return named
