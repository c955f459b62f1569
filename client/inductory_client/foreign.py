"""Foreign entries: what Triton, Inductor or vLLM keep under keys of their own, as artifacts of the store.

Such a key names what was compiled and most of what it was compiled with; the target names the rest. An
entry is a handful of files that belong together. They travel, are verified and are kept here as everything
else is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from .client import Client
from .contract.canonical_json import digest_of_json
from .contract.descriptor import CACHE_FILE
from .contract.digest import digest_of
from .contract.key import foreign_key
from .contract.provenance import Provenance
from .contract.shape import Shape
from .contract.target import Target
from .contract.wire import ArtifactWanted, Event
from .fetch import Fetched, Piece
from .misses import KeyParts
from .publication import Draft, DraftBlob, Publication

SCHEME_KEY_CHARS_MAX = 512

Files = dict[str, bytes]
"""An entry's files by the names that they have in the cache which they come from."""


@dataclass(frozen=True, kw_only=True)
class ForeignCache:
    """The entries of one scheme for one target. Safe for threads."""

    client: Client
    scheme: str
    """Who makes the keys: `triton`, `inductor`, `vllm`."""
    backend: str
    """What made the code."""
    target: Target
    """What else decides the code than the key does."""

    def artifact_key(self, key: str, shape: Shape = None) -> str:
        """Return the artifact key that stands for `key`."""
        return foreign_key(
            scheme=self.scheme,
            key=scheme_key_of(key),
            shape=shape,
            backend=self.backend,
            target_fingerprint=self.target.fingerprint,
        )

    def fetch(
        self,
        keys: Iterable[str],
        kin: str | None = None,
        shape: Shape = None,
        share: float = 1.0,
        options: Mapping[str, str] | None = None,
    ) -> dict[str, Files]:
        """Return the entries under `keys` that this node or the store has, verified, in one round trip.

        `kin` is a digest that entries of the same thing for other targets share: a miss is explained by it,
        and by the `options` that are in no key of ours. `share` is the part of the start's budget that a
        small question may take. Never raises; what isn't there can be compiled.
        """
        by_artifact = {self.artifact_key(key, shape): key for key in keys}
        graph_digest = self.graph_digest(kin)
        wanted = [ArtifactWanted(key=artifact, graph_digest=graph_digest) for artifact in by_artifact]
        if not wanted:
            return {}

        def describe(artifact: str) -> KeyParts:
            return self.parts(by_artifact[artifact], shape, options)

        fetched = self.client.fetch(wanted, self.target, describe=describe, share=share)
        return _by_key(fetched, by_artifact)

    def parts(self, key: str, shape: Shape = None, options: Mapping[str, str] | None = None) -> KeyParts:
        """Return what a miss of `key` is noted by."""
        return KeyParts(
            scheme=self.scheme,
            scheme_key=scheme_key_of(key),
            shape=shape,
            backend=self.backend,
            options=dict(options or {}),
        )

    def loaded(self, key: str, shape: Shape = None) -> None:
        """Tell the store that an entry's owner has really loaded it: only then was it worth having."""
        event = Event(kind="load", at=time.time(), artifact=self.artifact_key(key, shape))
        self.client.telemetry.record(event)

    def draft(
        self,
        key: str,
        files: Mapping[str, bytes],
        *,
        kin: str | None = None,
        shape: Shape = None,
        options: Mapping[str, str] | None = None,
        compile_seconds: float | None = None,
    ) -> Draft:
        """Return the artifact of an entry before it is signed.

        `options` say what went into a foreign key, so that a miss can be explained; they are in no key of
        ours.
        """
        blobs = tuple(DraftBlob(CACHE_FILE, name, data) for name, data in sorted(files.items()))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Draft(
            blobs=blobs,
            shape=shape,
            backend=self.backend,
            scheme=self.scheme,
            scheme_key=scheme_key_of(key),
            graph_digest=self.graph_digest(kin),
            options=dict(options or {}),
            target=self.target,
            provenance=Provenance(builder=self.scheme, created_at=now, compile_seconds=compile_seconds),
        )

    def offer(
        self,
        key: str,
        files: Mapping[str, bytes],
        *,
        kin: str | None = None,
        shape: Shape = None,
        options: Mapping[str, str] | None = None,
        compile_seconds: float | None = None,
    ) -> bool:
        """Sign an entry, keep it here and send it to the store, all in the background; False where the queue
        is full. Never raises.
        """
        held = sum(map(len, files.values()))
        return self.offer_later(
            key,
            lambda: files,
            held,
            kin=kin,
            shape=shape,
            options=options,
            compile_seconds=compile_seconds,
        )

    def offer_later(
        self,
        key: str,
        files: Callable[[], Mapping[str, bytes]],
        bytes_held: int,
        *,
        kin: str | None = None,
        shape: Shape = None,
        options: Mapping[str, str] | None = None,
        compile_seconds: float | None = None,
    ) -> bool:
        """`offer` an entry whose files take long to bring into the form that they travel in: the background
        does that, too. `bytes_held` is what `files` keeps in memory until then.
        """

        def make() -> Publication:
            draft = self.draft(
                key, files(), kin=kin, shape=shape, options=options, compile_seconds=compile_seconds
            )
            return Publication(artifacts=(draft,))

        return self.client.publisher.submit_later(make, bytes_held, [self.artifact_key(key, shape)])

    def graph_digest(self, kin: str | None) -> str | None:
        """Return what kin carry where our own artifacts have the digest of their graph.

        Scheme and backend are in it: the store finds the nearest entry by this digest alone, and one that
        another scheme keeps of the same thing explains nothing.
        """
        if kin is None:
            return None
        return digest_of_json({"scheme": self.scheme, "backend": self.backend, "kin": kin})


def scheme_key_of(key: str) -> str:
    """Return `key` as it stands in a statement: itself, or its digest where it is too long."""
    return key if 0 < len(key) <= SCHEME_KEY_CHARS_MAX else f"sha256:{digest_of(key.encode())}"


def files_of(piece: Piece) -> Files:
    """Return the files of a verified entry, by name."""
    return {each.name: piece.blobs[each.digest] for each in piece.artifact.subject.loaded}


def _by_key(fetched: Fetched, by_artifact: Mapping[str, str]) -> dict[str, Files]:
    return {by_artifact[artifact]: files_of(piece) for artifact, piece in fetched.pieces.items()}
