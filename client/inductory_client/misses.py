"""Misses: what was wanted on this node and not got, noted so that somebody may ask later why.

A file a target, which begins with the target and goes on with one line an artifact:

    {"target":{"factors":{"torch.version":"2.13.0", ...}}}
    {"missed":{"key":"ab12...","at":1767225600.0,"nearest":{"key":"cd34...","differences":[...]}, ...}}

What the store said of a miss at the time is kept: soon afterwards this node has compiled and published the
artifact itself, and what came nearest before can't be asked any more. Notes are told to people and decide
nothing; whoever could write them could only mislead a reader.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from .cas import LocalCas
from .contract.artifact import Backend, Scheme, Subject
from .contract.build import Namespace
from .contract.digest import Digest
from .contract.errors import InductoryError
from .contract.key import BACKEND, SCHEME
from .contract.shape import Shape, shape_text
from .contract.target import FactorDifference, Target, differences
from .contract.wire import ArtifactWanted, Nearest, decode, encode
from .fetch import Fetched

NOTED_MAX = 500
"""Most artifacts that are noted of one fetch."""
LINE_BYTES_MAX = 32 << 10
"""A longer line goes without the key's parts, of which options may be many; one that is longer still isn't
written."""
FILE_BYTES_MAX = 1 << 20
"""A longer file loses its older half."""
TARGETS_MAX = 16
"""Files that are kept: those of the targets that missed something last."""
DETAIL_CHARS_MAX = 400

NO_STORE = "no_store"
"""The reason where no store is set."""


class KeyParts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an artifact's key is made of, beside its graph digest and target."""

    scheme: Scheme = SCHEME
    scheme_key: str | None = None
    shape: Shape = None
    backend: Backend = BACKEND
    options: dict[str, str] = {}


class Missed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One artifact that was wanted and not got."""

    key: Digest
    at: Annotated[float, Meta(ge=0, le=253_402_300_799)]
    """Seconds since the epoch."""
    namespace: Namespace
    model: str = ""
    """What people call the model that wanted it; a label."""
    graph_digest: Digest | None = None
    parts: KeyParts | None = None
    """None where whoever asked didn't say."""
    reason: str = ""
    """Empty for a miss; else the code of what kept an answer away, or of why the artifact was refused."""
    detail: str = ""
    nearest: Nearest | None = None
    """As the store told it then."""


class Noted(Struct, frozen=True):
    """A note and the target that it was wanted for."""

    missed: Missed
    target: Target


class Notes(Struct, frozen=True):
    """What can be read of a node's notes."""

    noted: tuple[Noted, ...]
    """The last note of each key in a namespace, the oldest first."""
    damaged: int
    """Lines that can't be read."""


class _Line(Struct, frozen=True, omit_defaults=True):
    """Either of the two kinds of line. Fields that a later version adds are passed over."""

    target: Target | None = None
    missed: Missed | None = None


Describe = Callable[[str], KeyParts]
"""Says what a key is made of; asked of keys that were missed alone."""


def missed_of(
    wanted: Sequence[ArtifactWanted],
    fetched: Fetched,
    describe: Describe | None,
    *,
    at: float,
    namespace: str,
    model: str,
    store: bool,
) -> Iterator[Missed]:
    """Yield what a fetch didn't get, and why. `store`: whether one is set."""
    misses = {miss.key: miss for miss in fetched.misses}
    for each in wanted:
        if each.key in fetched.pieces:
            continue
        miss = misses.get(each.key)
        error = fetched.refused.get(each.key) or (fetched.error if miss is None else None)
        reason, detail = ("", "") if store else (NO_STORE, "no store is set")
        if error is not None:
            reason, detail = error.code, error.message[:DETAIL_CHARS_MAX]
        yield Missed(
            key=each.key,
            at=at,
            namespace=namespace,
            model=model,
            graph_digest=each.graph_digest,
            parts=None if describe is None else describe(each.key),
            reason=reason,
            detail=detail,
            nearest=None if miss is None else miss.nearest,
        )


class Misses:
    """The notes of a node, which all of its processes write. Never raises for the disk."""

    def __init__(self, cas: LocalCas) -> None:
        self._folder = cas.missed
        self._bytes_max = min(FILE_BYTES_MAX, cas.bytes_max)

    def note(self, target: Target, missed: Sequence[Missed]) -> None:
        """Add notes: one write to one file. A process that is killed in it leaves a line without an end."""
        # A line begins with its newline, so that what another left unfinished spoils no other line.
        lines = filter(None, map(_line, missed[:NOTED_MAX]))
        data = b"".join(b"\n" + line for line in lines)
        head = encode(_Line(target=target))
        if not data or len(head) + len(data) > self._bytes_max:
            return
        size = self._folder.append(target.fingerprint, head, data)
        if size is None:
            return
        if size == len(head) + len(data):
            self._forget_oldest()
        elif size > self._bytes_max:
            self._halve(target.fingerprint, head)

    def read(self) -> Notes:
        """Return all that can be read; what can't is counted."""
        found: dict[tuple[str, str], Noted] = {}
        damaged = 0
        for fingerprint in self._folder.names():
            target, missed, unread = _read(fingerprint, self._folder.read(fingerprint, touch=False) or b"")
            damaged += unread if target is not None else unread + len(missed)
            for each in missed if target is not None else ():
                before = found.get((each.namespace, each.key))
                if before is None or before.missed.at <= each.at:
                    found[each.namespace, each.key] = Noted(each, target or Target({}))
        noted = sorted(found.values(), key=lambda each: (each.missed.at, each.missed.key))
        return Notes(tuple(noted), damaged)

    def _halve(self, fingerprint: str, head: bytes) -> None:
        """Keep the newer half. What another process adds meanwhile may be lost."""
        data = self._folder.read(fingerprint, touch=False) or b""
        newest = data[-self._bytes_max // 2 :]
        self._folder.write(fingerprint, (head, newest[newest.find(b"\n") :]))

    def _forget_oldest(self) -> None:
        ages: list[tuple[int, str]] = []
        for entry in self._folder.files():
            try:
                ages.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path))
            except OSError:  # another process was first
                continue
        for _, path in sorted(ages, reverse=True)[TARGETS_MAX:]:
            try:
                os.unlink(path)
            except OSError:
                continue


def _line(missed: Missed) -> bytes | None:
    for each in (missed, replace(missed, parts=None)):
        line = encode(_Line(missed=each))
        if len(line) <= LINE_BYTES_MAX:
            return line
    return None


def _read(fingerprint: str, data: bytes) -> tuple[Target | None, list[Missed], int]:
    """Return a file's target, its notes and how many lines can't be read."""
    target: Target | None = None
    missed: list[Missed] = []
    damaged = 0
    for line in filter(None, data.split(b"\n")):
        try:
            read = decode(line, _Line)
            if read.missed is not None:
                shape_text(None if read.missed.parts is None else read.missed.parts.shape)
                missed.append(read.missed)
            elif read.target is not None and read.target.fingerprint == fingerprint:
                target = read.target
            else:
                damaged += 1
        except InductoryError:
            damaged += 1
    return target, missed, damaged


def key_differences(parts: KeyParts | None, target: Target, theirs: Subject) -> tuple[FactorDifference, ...]:
    """Return in what an artifact's key differs from one that was wanted: its parts, as far as they are known,
    then the factors of its target.
    """
    found: list[FactorDifference] = []
    if parts is not None:
        pairs: list[tuple[str, str | None, str | None]] = [
            ("scheme", parts.scheme, theirs.scheme),
            ("scheme_key", parts.scheme_key, theirs.scheme_key),
            ("backend", parts.backend, theirs.backend),
            ("shape", shape_text(parts.shape), shape_text(theirs.shape)),
        ]
        for name in sorted(parts.options.keys() | theirs.options.keys()):
            # What vLLM put into its key is called as it is where vLLM's folders are compared.
            told = name if name.startswith("vllm.") else f"option.{name}"
            pairs.append((told, parts.options.get(name), theirs.options.get(name)))
        found = [FactorDifference(name, a, b) for name, a, b in pairs if a != b]
    return (*found, *differences(target, theirs.target))
