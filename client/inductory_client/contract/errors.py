"""What can go wrong, in words that travel.

A miss is a value; what is in here is for faults. Each class has a stable wire code and an HTTP status; its
docstring is its default message. `error_from_code` takes the client back from the code to the class.
"""

from __future__ import annotations

from typing import ClassVar


class InductoryError(Exception):
    """Something went wrong inside Inductory."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        return str(self.args[0])


class Malformed(InductoryError):
    """The message isn't what the protocol says it should be."""

    code = "malformed"
    status = 400


class TooLarge(InductoryError):
    """The message or blob is larger than allowed."""

    code = "too_large"
    status = 413


class UnsupportedMediaType(InductoryError):
    """The store takes messages as application/json."""

    code = "unsupported_media_type"
    status = 415


class LengthRequired(InductoryError):
    """The uncompressed size of the blob must be declared."""

    code = "length_required"
    status = 411


class NotFound(InductoryError):
    """The store has nothing by that name."""

    code = "not_found"
    status = 404


class MethodNotAllowed(InductoryError):
    """That address doesn't take this method."""

    code = "method_not_allowed"
    status = 405


class RangeNotSatisfiable(InductoryError):
    """The range lies outside the blob."""

    code = "range_not_satisfiable"
    status = 416


class DigestMismatch(InductoryError):
    """The bytes don't have the digest they were announced with."""

    code = "digest_mismatch"
    status = 422


class SizeMismatch(InductoryError):
    """The bytes don't have the size they were announced with."""

    code = "size_mismatch"
    status = 422


class Corrupt(InductoryError):
    """The bytes are damaged: they can't be unpacked, or a checksum fails."""

    code = "corrupt"
    status = 422


class BlobMissing(InductoryError):
    """A name was published before its bytes; upload the blobs first."""

    code = "blob_missing"
    status = 409


class ArtifactMissing(InductoryError):
    """A manifest names an artifact that the store doesn't have; publish the artifacts first."""

    code = "artifact_missing"
    status = 409


class KeyMismatch(InductoryError):
    """The key in the address isn't the key of what was sent."""

    code = "key_mismatch"
    status = 422


class BadSignature(InductoryError):
    """The signature doesn't fit the statement: it was altered, or signed for something else."""

    code = "bad_signature"
    status = 403


class UntrustedSigner(InductoryError):
    """The signer isn't trusted here; add its public key to the trusted keys to change that."""

    code = "untrusted_signer"
    status = 403


class TargetMismatch(InductoryError):
    """The artifact was made for another machine or software."""

    code = "target_mismatch"
    status = 422


class LeaseHeld(InductoryError):
    """Another process is compiling this key; what that one publishes is kept."""

    code = "lease_held"
    status = 409


class StaleLease(InductoryError):
    """The lease ran out, and another process has it now; what that one publishes is kept."""

    code = "stale_lease"
    status = 409


class UploadExpired(InductoryError):
    """The upload was finished too late; send the blob again."""

    code = "upload_expired"
    status = 410


class StorageFull(InductoryError):
    """No room is left where the bytes should go."""

    code = "storage_full"
    status = 507


class StorageFailed(InductoryError):
    """The storage failed to read or write."""

    code = "storage_failed"
    status = 503
    retryable = True


class StoreUnavailable(InductoryError):
    """The store can't be reached, or answers nonsense."""

    code = "store_unavailable"
    status = 503
    retryable = True


class DeadlineExceeded(InductoryError):
    """The deadline passed before the store answered."""

    code = "deadline_exceeded"
    status = 504
    retryable = True


class BreakerOpen(InductoryError):
    """The store failed a moment ago and isn't asked again yet."""

    code = "breaker_open"
    status = 503
    retryable = True


class UpstreamUnavailable(InductoryError):
    """The store that this one pulls from can't be reached, or isn't well."""

    code = "upstream_unavailable"
    status = 503
    retryable = True


class UpstreamWrong(InductoryError):
    """The store that this one pulls from gave something else than was asked for."""

    code = "upstream_wrong"
    status = 502


class UpstreamLoop(InductoryError):
    """The request came back to a store that it had passed: the upstreams of these stores make a circle."""

    code = "upstream_loop"
    status = 508


class LoadFailed(InductoryError):
    """The artifact is whole and trusted, and still couldn't be loaded."""

    code = "load_failed"


class CompilerAbsent(InductoryError):
    """A piece must be compiled, and this installation has no compiler; install inductory[compiler]."""

    code = "compiler_absent"


class PieceMissing(InductoryError):
    """The store doesn't have a piece, and the miss policy is `error`."""

    code = "piece_missing"


class BadSettings(InductoryError):
    """A setting is unknown or has a value that makes no sense."""

    code = "bad_settings"


def _tree(cls: type[InductoryError]) -> list[type[InductoryError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _tree(child))]


ERRORS: dict[str, type[InductoryError]] = {cls.code: cls for cls in _tree(InductoryError)}


def error_from_code(code: str, message: str) -> InductoryError:
    """Return the error that `code` names; an unknown code becomes the base class, named in its message."""
    found = ERRORS.get(code)
    return found(message) if found is not None else InductoryError(f"{message} ({code})")
