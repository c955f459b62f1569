"""`inductory gc`: condemns what nobody needs, and deletes it after its grace.

A seam: this reaches the store's package.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .exit_code import ExitCode
from .output import Output
from .scrubbing import add_data_dir, given_settings
from .table import bytes_text, count_text, facts, table

if TYPE_CHECKING:
    from inductory_store.lifetime.plan import Plan
    from inductory_store.operations.collect import Collected

SHOWN_MAX = 20
"""Rows of a table for people; --json has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")
    add_data_dir(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit 0 whether or not there was anything to do."""
    try:
        from inductory_store.operations.collect import collect, time_of
        from inductory_store.serve import opened
        from inductory_store.settings import StoreSettings
    except ModuleNotFoundError as error:
        output.problem("store_absent", f"the store needs {error.name}", "pip install 'inductory[store]'")
        return ExitCode.ABSENT
    with opened(StoreSettings.load(**given_settings(arguments))) as store:
        now = time_of(store)
        found = collect(store, now, dry_run=arguments.dry_run, progress=output.progress)
    output.result(found, _text(found, now))
    return ExitCode.FINE


def _text(found: Collected, now: float) -> str:
    parts = [_names_text(each, now, found.done) for each in found.names]
    blobs = found.blobs
    would = "" if found.done else "would be "
    pairs = [
        (f"blobs {would}condemned", f"{len(blobs.condemn)}, {bytes_text(blobs.condemned_bytes)}"),
        (f"strays {would}condemned", len(blobs.stray)),
        (f"blobs {would}rescued", len(blobs.rescue)),
        (f"blobs {would}deleted", f"{len(blobs.delete)}, {bytes_text(blobs.deleted_bytes)}"),
    ]
    parts.append(facts(pairs))
    hours = f"{found.grace_s / 3600:.0f} hours"
    end = (
        f"What is condemned is served on, and deleted {hours} later unless it is used again."
        if found.done
        else "Nothing was done. `inductory gc` does it."
    )
    return "\n\n".join([*parts, end])


def _names_text(plan: Plan, now: float, done: bool) -> str:
    would = "" if done else "would be "
    counts = [
        (f"{would}condemned", count_text(len(plan.condemn), "name")),
        (f"{would}rescued", count_text(len(plan.rescue), "name")),
        (f"{would}dropped", count_text(len(plan.drop), "name")),
        ("stays", bytes_text(plan.kept_bytes)),
    ]
    if plan.over_bytes:
        counts.append(("over its quota", f"{bytes_text(plan.over_bytes)}, which roots keep"))
    text = f"namespace {plan.namespace}\n{facts(counts)}"
    fates = [("drop", each) for each in plan.drop] + [("condemn", each) for each in plan.condemn]
    if not fates:
        return text
    rows = [
        (what, each.kind, each.key, each.why, f"{(now - each.used_at) / 86_400:.1f}", bytes_text(each.bytes))
        for what, each in fates[:SHOWN_MAX]
    ]
    headings = ("what", "kind", "key", "why", "days unused", "frees")
    text += "\n" + table(headings, rows, right=("days unused", "frees"))
    more = len(fates) - len(rows)
    return text + (f"\nand {more} more; --json lists all" if more else "")
