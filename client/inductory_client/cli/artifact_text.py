"""One artifact as people read it, and whether builders agreed on it."""

from __future__ import annotations

from collections.abc import Iterator

from inductory_client.contract.shape import shape_text
from inductory_client.contract.wire import Agreement, Artifact

from .table import bytes_text, facts, seconds_text, table


def artifact_text(artifact: Artifact) -> str:
    """Return what the artifact is of, and its parts."""
    subject, provenance = artifact.subject, artifact.provenance
    took = provenance.compile_seconds
    pairs: list[tuple[str, object]] = [
        ("artifact", artifact.key),
        ("backend", subject.backend),
        ("shape", shape_text(subject.shape)),
        ("target", subject.target.fingerprint),
        ("signed by", artifact.signature.signer),
        ("built by", f"{provenance.builder}, {provenance.created_at}"),
        ("compiled in", None if took is None else seconds_text(took)),
        *(("needs at least", f"{name} {least}") for name, least in sorted(subject.requires.items())),
    ]
    headings = ("PART", "MEDIA TYPE", "DIGEST", "SIZE")
    rows = (
        (each.name or None, each.media_type, each.digest[:12], bytes_text(each.size))
        for each in subject.descriptors
    )
    return f"{facts(pairs)}\n\n{table(headings, rows, right=('SIZE',))}"


def agreement_text(agreement: Agreement) -> str:
    """Return who made the artifact again, and what differed."""
    if not agreement.repeats:
        return "nobody has made it again"
    head = f"made again: {agreement.reproduced} equal, {agreement.different} different"
    return f"{head}\n\n{table(('SIGNED BY', 'BUILT BY', 'PUBLISHED', 'DIFFERS IN'), _repeats(agreement))}"


def agreed_text(reproduced: int, different: int) -> str | None:
    """Return how many of those who made an artifact again made the same bytes: 2 of 3; None of nobody."""
    again = reproduced + different
    return f"{reproduced} of {again}" if again else None


def _repeats(agreement: Agreement) -> Iterator[tuple[object, ...]]:
    for each in agreement.repeats:
        differs = str(each.comparison) if each.comparison.differing else None
        yield each.signer[:12], each.builder, each.created_at, differs
