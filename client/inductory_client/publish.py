"""Publish: sign what was compiled, keep it here, and send the store what it lacks.

Blobs go first, then artifacts, then the manifest, then the build, so that whenever a publisher is killed the
store has no name without bytes. Everything may be repeated: what is there already isn't sent again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from msgspec import Struct

from .background import Background
from .cas import LocalCas
from .contract.errors import ArtifactMissing, BlobMissing, InductoryError, LeaseHeld, StaleLease
from .contract.wire import Artifact, decode, encode
from .deadline import Deadline
from .fork import IMPORTED_BY_THREADS, begin_anew_in_children, import_in_thread
from .held import HeldPublications
from .leasing import Leases
from .publication import Draft, DraftBlob, Publication
from .transport import HttpStore
from .trouble import log, warn_once
from .trust import Keyring, SigningKey

QUEUE_MAX = 256
QUEUE_BYTES_MAX = 1 << 30
CALL_S = 30.0
"""What one call may take in the background, where nobody waits for it; blobs get more for their size."""
BYTES_PER_S_MIN = 1 << 20
TRIES_MAX = 3
TRY_AGAIN_S = 1.0

Made = Callable[[], Publication]
"""Makes a publication, on the background thread."""
Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all); a step is a blob or a name."""


class PublicationReport(Struct, frozen=True, kw_only=True):
    """What became of a publication."""

    blobs: int
    """Unique blobs of the publication."""
    blobs_sent: int = 0
    blob_bytes: int = 0
    """Bytes that travelled for them, packed."""
    created: int = 0
    reproduced: int = 0
    different: int = 0
    """Artifacts whose key another publisher was first with, and whose bytes differ."""
    manifest: str | None = None
    build: str | None = None
    left: tuple[str, ...] = ()
    """Keys whose artifacts weren't kept, since another process has their lease."""
    stored: bool = False
    """Whether a store has it; else the local CAS alone."""
    untrusted: tuple[str, ...] = ()
    """Signers of what the store keeps in place of ours, and whom this machine doesn't trust."""


def kept_of_another(signer: str) -> str:
    """Say what it means that the store keeps an untrusted signer's artifact, and what to do."""
    return (
        f"the store keeps what {signer[:12]} was first to publish, and this machine, which doesn't trust that"
        " signer, will refuse it and compile each time; add that signer's key.pub to the trusted keys, or"
        " publish into a namespace of your own"
    )


class Publisher:
    """Publishes in the background (`submit`) or at once (`publish_now`). Cheap to make.

    What the store refuses in the background because another process has the lease is tried again once that
    one has published, died or given up, if this process lives then (`held.py`).
    """

    def __init__(
        self,
        cas: LocalCas,
        store: HttpStore | None,
        signing_key: Callable[[], SigningKey],
        keyring: Callable[[], Keyring],
        drain_s: float,
        leases: Leases,
        done: Callable[[PublicationReport], None] = lambda report: None,
    ) -> None:
        """`done` is told of every publication that succeeded in the background. Leases of what is published
        end with it, and with what can't be.
        """
        self._cas = cas
        self._store = store
        self._load_signing_key = signing_key
        self._keyring = keyring
        self._signing_key: SigningKey | None = None
        self._done = done
        self._leases = leases
        self._held = HeldPublications(leases, self._submit_again)
        self.after_fork()
        begin_anew_in_children(self)
        self._background: Background[Made] = Background(
            "publish",
            self._publish_all,
            items_max=QUEUE_MAX,
            weight_max=QUEUE_BYTES_MAX,
            exit_s=drain_s,
        )

    def after_fork(self) -> None:
        self._given_up = threading.Event()

    @property
    def dropped(self) -> int:
        """Publications that found the queue full."""
        return self._background.dropped

    def submit(self, publication: Publication) -> bool:
        """Publish in the background; False where the queue is full, which is warned about once. Never
        raises.
        """
        if self.submit_later(lambda: publication, publication.bytes_held):
            return True
        self._end_leases(publication)
        return False

    def submit_later(self, make: Made, bytes_held: int, keys: Collection[str] = ()) -> bool:
        """`submit` for what takes long to make: that is done in the background, too, and what it raises is
        warned about. `bytes_held` is what `make` keeps in memory, and `keys` are the artifacts that it makes:
        their leases end where it can't.
        """

        def made() -> Publication:
            try:
                return make()
            except BaseException:
                self._leases.end(keys)
                raise

        if self._background.add(made, bytes_held):
            return True
        self._leases.end(keys)
        return False

    def drain(self, seconds: float) -> bool:
        """Wait for the background at most so long; whether everything is published or given up."""
        return self._background.drain(seconds)

    def close(self, seconds: float) -> bool:
        self._held.close()
        done = self._background.close(seconds)
        self._given_up.set()
        return done

    def publish_now(
        self, publication: Publication, progress: Progress = lambda done, total: None
    ) -> PublicationReport:
        """Sign, keep and send, and return what became of it.

        The local CAS has the artifacts even where the store then fails. Raises BadSettings where there is no
        signing key, Malformed where the publication breaks the contract, and what the store raises. May be
        repeated.
        """
        artifacts = self.keep(publication)
        blobs = {blob.descriptor.digest: blob for blob in publication.blobs}
        if self._store is None:
            return PublicationReport(blobs=len(blobs))
        token_of = self._leases.token_of
        sending = _Sending(self._store, publication, artifacts, blobs, self._keyring(), token_of, progress)
        report = sending.run()
        for signer in report.untrusted:
            warn_once(f"publish:{signer}", "%s", kept_of_another(signer))
        return report

    def keep(self, publication: Publication) -> tuple[Artifact, ...]:
        """Sign the artifacts and put them into the local CAS, whole, with the manifest and build.

        What a load doesn't read is kept too, so that `inductory push` can send all of it after an outage.
        Only a folder that another program wrote isn't kept: it can be pushed again from where it lies.
        """
        artifacts = tuple(self._sign(draft) for draft in publication.artifacts)
        for draft, artifact in zip(publication.artifacts, artifacts, strict=True):
            for blob, descriptor in zip(draft.blobs, artifact.subject.descriptors, strict=True):
                self._cas.put(descriptor.digest, blob.data)
            self._cas.put_artifact(artifact)
        manifest = publication.manifest
        if manifest is not None and manifest.files:
            return artifacts
        for blob in manifest.documents if manifest is not None else ():
            self._cas.put(blob.descriptor.digest, blob.data)
        if manifest is not None or publication.build is not None:
            self._cas.put_names(publication.names)
        return artifacts

    def _sign(self, draft: Draft) -> Artifact:
        if self._signing_key is None:
            self._signing_key = self._load_signing_key()
        subject = draft.subject
        signature = self._signing_key.sign(subject.signed_bytes)
        artifact = Artifact(subject=subject, signature=signature, provenance=draft.provenance)
        # Read back as any reader will, so that what breaks the contract fails here and not there.
        return decode(encode(artifact), Artifact)

    def _publish_all(self, made: list[Made]) -> None:
        import_in_thread(IMPORTED_BY_THREADS)
        for make in made:
            try:
                publication = make()
            except Exception as error:
                told = str(error) if isinstance(error, InductoryError | OSError) else repr(error)
                warn_once("publish:make", "something compiled isn't published: %s", told)
                continue
            try:
                report = self._publish_patiently(publication)
            finally:
                self._end_leases(publication)
            if report is not None:
                self._done(report)
                if report.left:
                    self._held.add(publication, report.left)

    def _submit_again(self, publication: Publication) -> None:
        self._background.add(lambda: publication, publication.bytes_held)

    def _end_leases(self, publication: Publication) -> None:
        if self._leases.any:
            self._leases.end(draft.subject.key for draft in publication.artifacts)

    def _publish_patiently(self, publication: Publication) -> PublicationReport | None:
        """Publish, again after a while where that may help; the one place where a failed publication ends,
        with a warning and None.
        """
        for attempt in range(1, TRIES_MAX + 1):
            try:
                return self.publish_now(publication)
            except InductoryError as error:
                may_help = error.retryable or isinstance(error, (BlobMissing, ArtifactMissing))
                if not may_help or attempt == TRIES_MAX:
                    warn_once(f"publish:{error.code}", "a compiled graph isn't published: %s", error)
                    return None
                log.debug("publishing failed and is tried again: %s", error)
            if self._given_up.wait(TRY_AGAIN_S * attempt):
                break
        return None


class _Sending:
    """One publication on its way."""

    def __init__(
        self,
        store: HttpStore,
        publication: Publication,
        artifacts: tuple[Artifact, ...],
        blobs: dict[str, DraftBlob],
        keyring: Keyring,
        token_of: Callable[[str], str | None],
        progress: Progress,
    ) -> None:
        self._store = store
        self._publication = publication
        self._artifacts = artifacts
        self._blobs = blobs
        self._keyring = keyring
        self._token_of = token_of
        self._progress = progress
        self._done = 0
        self._total = len(blobs) + len(artifacts)
        self._total += (publication.manifest is not None) + (publication.build is not None)

    def run(self) -> PublicationReport:
        sent, blob_bytes = self._send_blobs()
        outcomes = {"created": 0, "reproduced": 0, "different": 0}
        untrusted: set[str] = set()
        left: list[str] = []
        for artifact in self._artifacts:
            try:
                lease = self._token_of(artifact.key)
                published = self._store.put_artifact(artifact, self._deadline(), lease)
            except (LeaseHeld, StaleLease) as error:
                log.info("artifact %s isn't published: %s", artifact.key, error)
                left.append(artifact.key)
                self._step()
                continue
            outcomes[published.outcome] += 1
            if published.outcome == "different":
                what = published.comparison
                log.info("artifact %s isn't what the store keeps: %s differ", published.key, what)
            if not self._keyring.trusts(published.signer):
                untrusted.add(published.signer)
            self._step()
        manifest_id, build_key = self._send_names(named_by_others=bool(left))
        return PublicationReport(
            blobs=len(self._blobs),
            blobs_sent=sent,
            blob_bytes=blob_bytes,
            manifest=manifest_id,
            build=build_key,
            stored=True,
            left=tuple(left),
            untrusted=tuple(sorted(untrusted)),
            **outcomes,
        )

    def _send_names(self, *, named_by_others: bool) -> tuple[str | None, str | None]:
        """Send the manifest and the build. Whoever compiles what they name sends them, too, once it is there;
        where they can't be sent before, that is no fault.
        """
        manifest, build = self._publication.manifest, self._publication.build
        try:
            sent = None if manifest is None else self._store.put_manifest(manifest.manifest, self._deadline())
            self._step(manifest is not None)
            kept = None if build is None else self._store.put_build(build, self._deadline())
            self._step(build is not None)
        except ArtifactMissing:
            if not named_by_others:
                raise
            return None, None
        return None if sent is None else sent.id, None if kept is None else kept.key

    def _send_blobs(self) -> tuple[int, int]:
        missing = self._store.missing_blobs(self._blobs, self._deadline())
        self._step(len(self._blobs) - len(missing))
        blob_bytes = 0
        for digest in self._blobs:
            if digest in missing:
                data = self._blobs[digest].data
                blob_bytes += self._store.put_blob(digest, data, self._deadline(len(data)))
                self._step()
        return len(missing), blob_bytes

    def _deadline(self, size: int = 0) -> Deadline:
        return Deadline(CALL_S + size / BYTES_PER_S_MIN)

    def _step(self, steps: int = 1) -> None:
        self._done += steps
        self._progress(self._done, self._total)
