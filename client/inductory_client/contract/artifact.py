"""Artifacts: what a compile of one submodule produced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from .descriptor import LOADED, Descriptor
from .digest import Digest
from .errors import Malformed
from .key import SCHEME, artifact_key, foreign_key
from .provenance import Provenance
from .shape import Shape
from .statement import Signature, signed_bytes
from .target import FactorName, FactorValue, Target

ARTIFACT_STATEMENT = "application/vnd.inductory.artifact.v1+json"

Backend = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$(?!\n)")]
Scheme = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9_-]+$(?!\n)")]
OptionName = Annotated[str, Meta(min_length=1, max_length=200)]
OptionValue = Annotated[str, Meta(max_length=4000)]


class Subject(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a signer vouches for: this key, on this target, is these bytes.

    The key is derived from the rest, so a statement can't be used for another key or target.
    """

    scheme: Scheme = SCHEME
    graph_digest: Digest | None = None
    """Digest of the submodule's canonical form. Under a foreign scheme it isn't in the key, and says what was
    compiled as far as that is known without the target, so that the nearest entry can be found; or None."""
    scheme_key: Annotated[str, Meta(max_length=512)] | None = None
    """The key as the foreign scheme spells it; None under our own."""
    shape: Shape
    backend: Backend
    options: Annotated[dict[OptionName, OptionValue], Meta(max_length=200)] = {}
    """Compile options that differ from the compiler's defaults, as text."""
    target: Target
    descriptors: Annotated[tuple[Descriptor, ...], Meta(min_length=1, max_length=1000)]
    guards: Annotated[tuple[str, ...], Meta(max_length=200)] = ()
    """Conditions on the piece's symbols (z0, z1, ...) that compiling added; a load checks them."""
    requires: Annotated[dict[FactorName, FactorValue], Meta(max_length=50)] = {}
    """What the machine must have at least, by name (`cuda.driver`); not in the key. See `target.unmet`."""

    @property
    def key(self) -> str:
        """The artifact key. Raises Malformed where the scheme's fields are missing."""
        fingerprint = self.target.fingerprint
        if self.scheme == SCHEME:
            if self.graph_digest is None or self.scheme_key is not None:
                raise Malformed(f"an artifact of scheme {SCHEME} has a graph digest and no scheme key")
            return artifact_key(
                graph_digest=self.graph_digest,
                shape=self.shape,
                backend=self.backend,
                options=self.options,
                target_fingerprint=fingerprint,
            )
        if self.scheme_key is None:
            raise Malformed(f"an artifact of scheme {self.scheme} has a scheme key")
        return foreign_key(
            scheme=self.scheme,
            key=self.scheme_key,
            shape=self.shape,
            backend=self.backend,
            target_fingerprint=fingerprint,
        )

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is made over."""
        return signed_bytes(ARTIFACT_STATEMENT, self)

    @property
    def loaded(self) -> tuple[Descriptor, ...]:
        """The descriptors of what a load reads, payload and native files."""
        return loaded(self.descriptors)


def loaded(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    return tuple(descriptor for descriptor in descriptors if descriptor.media_type in LOADED)


class Artifact(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A signed subject and its provenance: what the store keeps, and what travels."""

    subject: Subject
    signature: Signature
    provenance: Provenance

    @property
    def key(self) -> str:
        return self.subject.key
