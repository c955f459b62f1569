"""Explained misses as people read them, at the width of their terminal."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Sequence

from inductory_client.contract.artifact import Artifact
from inductory_client.contract.digest import is_digest
from inductory_client.contract.key import SCHEME
from inductory_client.contract.shape import shape_text

from .advice import ADVICE
from .explaining import BuildThere, Explained
from .table import count_text, facts, printable, table
from .volatile import Verdict

VALUE_LINES_MAX = 3
OPTION_CHARS_MAX = 60
KEYS_SHOWN = 4
WORDS_MIN = 3
"""Two values that have so many words in common are told apart by the others."""

Trust = Callable[[Artifact], bool]
"""Says whether an artifact is signed by somebody who is trusted here."""


def explained_text(explained: Explained, trust: Trust, width: int) -> str:
    """Return one miss: what was wanted, what comes nearest, and what differs."""
    missed, nearest = explained.missed, explained.nearest_artifact
    pairs: list[tuple[str, object]] = [("wanted", missed.key), *_of_parts(explained)]
    pairs += [("model", missed.model)] if missed.model else []
    pairs.append(("target", explained.target.fingerprint))
    pairs.append(("missed", time_text(missed.at)))
    if explained.there is not None:
        pairs += zip(("there now", ""), _made(explained.there, trust), strict=True)
    if explained.nearest is not None:
        pairs.append(("nearest", explained.nearest))
    if nearest is not None:
        pairs += (("", line) for line in _made(nearest, trust))
    return "\n\n".join([facts(pairs), *_why(explained, width)])


def group_text(missed: Sequence[Explained], width: int) -> str:
    """Return several misses, those together that differ in the same."""
    groups: dict[object, list[Explained]] = {}
    for each in missed:
        groups.setdefault((each.missed.model, _why_key(each)), []).append(each)
    blocks = []
    for group in sorted(groups.values(), key=len, reverse=True):
        first = group[0]
        of = f" of {printable(first.missed.model)}" if first.missed.model else ""
        keys = ", ".join(each.missed.key[:12] for each in group[:KEYS_SHOWN])
        more = f", and {len(group) - KEYS_SHOWN} more" if len(group) > KEYS_SHOWN else ""
        head = _wrapped(f"{count_text(len(group), 'key')}{of}: {keys}{more}", width)
        why, *further = _why(first, width, count=len(group))
        blocks.append("\n\n".join([f"{head}\n{why}", *further]))
    return "\n\n".join([_heading(missed), *blocks])


def builds_text(builds: Sequence[BuildThere], model: str) -> str:
    """Return the builds of a model that the store has."""
    if not builds:
        return f"The store has no build of {printable(model)}."
    rows = (
        (each.build.key[:12], each.build.target[:12], each.build.created_at, _named(each.differences))
        for each in builds
    )
    headings = ("BUILD", "TARGET", "CREATED", "DIFFERS IN")
    return f"The store's builds of {printable(model)}:\n\n{table(headings, rows)}"


def differences_text(differences: Sequence[Verdict], width: int) -> str:
    """Return one block a difference: its name, both values, and what is known of it."""
    return "\n".join(line for each in differences for line in _lines(each, width))


def time_text(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def _heading(missed: Sequence[Explained]) -> str:
    first, last = (time_text(at) for at in (missed[0].missed.at, missed[-1].missed.at))
    when = f"at {first}" if first == last else f"from {first} to {last}"
    there = sum(each.there is not None for each in missed)
    now = f", {there} of which {'is' if there == 1 else 'are'} there now" if there else ""
    return f"{count_text(len(missed), 'key')} missed {when}{now}."


def _of_parts(explained: Explained) -> Iterator[tuple[str, object]]:
    parts = explained.missed.parts
    if parts is None:
        return
    if parts.scheme != SCHEME:
        yield "scheme", parts.scheme
        yield "its key", parts.scheme_key
    yield "backend", parts.backend
    yield "shape", shape_text(parts.shape)
    for name, value in sorted(parts.options.items()):
        yield f"option {name}", value if len(value) <= OPTION_CHARS_MAX else f"{value[:OPTION_CHARS_MAX]}…"


def _made(artifact: Artifact, trust: Trust) -> tuple[str, str]:
    """Return two lines: when and by what it was made, and by whom it is signed."""
    provenance = artifact.provenance
    trusted = "trusted here" if trust(artifact) else "not trusted here"
    signer = artifact.signature.signer[:12]
    return f"made {provenance.created_at} by {provenance.builder}", f"signed by {signer}, {trusted}"


def _why_key(explained: Explained) -> object:
    missed = explained.missed
    return missed.reason, explained.nearest is None, explained.differences


def _why(explained: Explained, width: int, count: int = 0) -> Iterator[str]:
    """Yield the paragraphs that say why; `count`: of so many keys of a list."""
    missed = explained.missed
    if missed.reason:
        yield _wrapped(f"Why: {printable(missed.detail or missed.reason)}.", width)
        if missed.reason in ADVICE:
            yield _wrapped(ADVICE[missed.reason], width, "  -> ")
    if explained.nearest is None:
        if not missed.reason:
            yield _wrapped(_nothing(explained, count), width)
        return
    if not explained.differences:
        text = "The nearest is for the same target: its shape or its options differ."
        if explained.nearest_artifact is not None:
            text = (
                "The nearest is for the same target, and what its key is made of is the same as far as known."
            )
        yield _wrapped(text, width)
        return
    yield _wrapped(f"{printable(_differs(explained))}.", width)
    yield differences_text(explained.differences, width)
    if not explained.complete:
        yield _wrapped("It can't be had now, so this is what the store said of it then.", width)


def _differs(explained: Explained) -> str:
    """Return in how many factors the nearest differs, and which of them are volatile."""
    count = len(explained.differences)
    volatile = [each.name for each in explained.differences if each.volatile]
    text = f"The nearest differs in {count_text(count, 'factor')}{'' if explained.complete else ' or more'}"
    if not volatile:
        return text
    if len(volatile) == count:
        which = "a volatile one" if count == 1 else "all volatile"
    else:
        which = f"{len(volatile)} of which {'is' if len(volatile) == 1 else 'are'} volatile"
    return f"{text}, {which}: {', '.join(volatile)}"


def _nothing(explained: Explained, count: int) -> str:
    if explained.missed.graph_digest is None:
        return "Whoever asked didn't say of which graph it is, so nothing can be compared with it."
    if count > 1:
        return "Nothing of the same graphs was there, for any target: they were new."
    new = "Nothing of the same graph was there, for any target: it was new."
    builds = f" `inductory explain --model {printable(explained.missed.model)}` compares builds of the model."
    return new + builds if explained.missed.model and not count else new


def _named(differences: Sequence[Verdict] | None) -> str | None:
    if differences is None:
        return None
    if not differences:
        return "nothing: it is for this target"
    names = ", ".join(each.name for each in differences[:KEYS_SHOWN])
    more = len(differences) - KEYS_SHOWN
    return f"{names}, and {more} more" if more > 0 else names


def _lines(verdict: Verdict, width: int) -> Iterator[str]:
    yield f"  {printable(verdict.name)}{' (volatile)' if verdict.volatile else ''}"
    for side, value in zip(("here ", "there"), _values(verdict), strict=True):
        yield _wrapped(printable(value), width, f"    {side}  ", lines_max=VALUE_LINES_MAX)
    if verdict.advice:
        yield _wrapped(verdict.advice, width, "    -> ")


def _values(verdict: Verdict) -> tuple[str, str]:
    """Return both values: of two lists of words only what the other hasn't, of digests their beginnings."""
    ours, theirs = verdict.ours, verdict.theirs
    words = set((ours or "").split()), set((theirs or "").split())
    common = words[0] & words[1]
    if len(common) < WORDS_MIN:
        return _value(ours), _value(theirs)
    only = (sorted(words[0] - common), sorted(words[1] - common))
    here, there = (" ".join(each) or "nothing" for each in only)
    return f"{here} (beside {len(common)} that both have)", f"{there} (beside {len(common)})"


def _value(value: str | None) -> str:
    if value is None:
        return "absent"
    return value[:12] if is_digest(value) else value or '""'


def _wrapped(text: str, width: int, head: str = "", lines_max: int | None = None) -> str:
    """Return `text` behind `head`, its further lines set in as far."""
    return textwrap.fill(
        text,
        max(width, len(head) + 20),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        max_lines=lines_max,
        placeholder=" …",
        break_on_hyphens=False,
    )
