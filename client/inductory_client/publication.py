"""Publications: what a builder hands over to be signed and sent."""

from __future__ import annotations

from msgspec import Struct

from .contract.build import Build
from .contract.descriptor import BLOB_BYTES_MAX, Descriptor
from .contract.digest import digest_of
from .contract.errors import TooLarge
from .contract.key import BACKEND, SCHEME
from .contract.manifest import Manifest, ManifestEntry
from .contract.provenance import Provenance
from .contract.shape import Shape
from .contract.target import Target
from .contract.wire import Subject


class DraftBlob(Struct, frozen=True):
    """Bytes that are to become a blob."""

    media_type: str
    name: str
    data: bytes

    @property
    def descriptor(self) -> Descriptor:
        """Hashes the bytes each time. Raises TooLarge."""
        if len(self.data) > BLOB_BYTES_MAX:
            name = self.name or "a blob"
            raise TooLarge(f"{name} has {len(self.data)} bytes; {BLOB_BYTES_MAX} are allowed")
        return Descriptor(
            media_type=self.media_type, digest=digest_of(self.data), size=len(self.data), name=self.name
        )


class Draft(Struct, frozen=True, kw_only=True):
    """An artifact before it is signed: the fields of `Subject`, with bytes where that has descriptors."""

    blobs: tuple[DraftBlob, ...]
    shape: Shape
    backend: str = BACKEND
    graph_digest: str | None = None
    scheme: str = SCHEME
    scheme_key: str | None = None
    options: dict[str, str] = {}
    target: Target
    guards: tuple[str, ...] = ()
    requires: dict[str, str] = {}
    provenance: Provenance

    @property
    def subject(self) -> Subject:
        """What will be signed. Hashes every blob each time."""
        return Subject(
            scheme=self.scheme,
            graph_digest=self.graph_digest,
            scheme_key=self.scheme_key,
            shape=self.shape,
            backend=self.backend,
            options=self.options,
            target=self.target,
            descriptors=tuple(blob.descriptor for blob in self.blobs),
            guards=self.guards,
            requires=self.requires,
        )


class ManifestDraft(Struct, frozen=True, kw_only=True):
    """A manifest with the bytes of its documents and files; its entries name artifacts by key."""

    scheme: str = SCHEME
    graph_digest: str
    guards_digest: str
    submodules: int
    entries: tuple[ManifestEntry, ...]
    documents: tuple[DraftBlob, ...] = ()
    files: tuple[DraftBlob, ...] = ()

    @property
    def manifest(self) -> Manifest:
        """The manifest to be sent; its id is what a build's entry names. Hashes every blob each time."""
        return Manifest(
            scheme=self.scheme,
            graph_digest=self.graph_digest,
            guards_digest=self.guards_digest,
            submodules=self.submodules,
            entries=self.entries,
            documents=tuple(blob.descriptor for blob in self.documents),
            files=tuple(blob.descriptor for blob in self.files),
        )


class Names(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a publication gives names to besides its artifacts, as it is kept for a later push."""

    manifest: Manifest | None = None
    build: Build | None = None


class Publication(Struct, frozen=True, kw_only=True):
    """What is published together, in this order: blobs, artifacts (pieces and dispatches), manifest, build.

    All that a manifest or a build names is either in here or in the store already.
    """

    artifacts: tuple[Draft, ...] = ()
    manifest: ManifestDraft | None = None
    build: Build | None = None

    @property
    def blobs(self) -> tuple[DraftBlob, ...]:
        """Every blob, artifacts' first; equal ones may occur more than once."""
        drafts = tuple(blob for draft in self.artifacts for blob in draft.blobs)
        if self.manifest is None:
            return drafts
        return drafts + self.manifest.documents + self.manifest.files

    @property
    def names(self) -> Names:
        """Hashes every blob of the manifest."""
        return Names(manifest=None if self.manifest is None else self.manifest.manifest, build=self.build)

    @property
    def bytes_held(self) -> int:
        """Bytes of all blobs, as they are held in memory."""
        return sum(len(blob.data) for blob in self.blobs)
