"""`inductory retention`: for how long a namespace keeps what nobody uses, and how much."""

from __future__ import annotations

import argparse

from inductory_client.contract.errors import BadSettings
from inductory_client.contract.lifetime import BYTES_MAX, UNUSED_DAYS_MAX, Retention, RetentionKept

from .exit_code import ExitCode
from .options import add_settings_options, settings_of
from .output import Output
from .store_access import open_store
from .table import bytes_text, count_text, facts

NONE = "none"
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unused-days", metavar="DAYS", help=f"keep what nobody uses for so many days; {NONE}: for ever"
    )
    parser.add_argument(
        "--bytes-max", metavar="SIZE", help=f"keep at most so much at rest: 500G, 2T; {NONE}: all there is"
    )
    add_settings_options(parser, "url", "namespace")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Show the rule, changed where an option says so. Nothing is deleted before the next `inductory gc`."""
    days = None if arguments.unused_days is None else _days(arguments.unused_days)
    size = None if arguments.bytes_max is None else _bytes(arguments.bytes_max)
    with open_store(settings_of(arguments)) as store:
        kept = store.retention()
        if arguments.unused_days is not None or arguments.bytes_max is not None:
            value = Retention(
                unused_days=kept.retention.unused_days if arguments.unused_days is None else days,
                bytes_max=kept.retention.bytes_max if arguments.bytes_max is None else size,
            )
            kept = store.put_retention(value)
    output.result(kept, _text(kept))
    return ExitCode.FINE


def _days(text: str) -> int | None:
    if text == NONE:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= UNUSED_DAYS_MAX):
        raise BadSettings(f"--unused-days takes 1 to {UNUSED_DAYS_MAX} or {NONE}, not {text!r}")
    return int(text)


def _bytes(text: str) -> int | None:
    if text == NONE:
        return None
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    if not (number.isascii() and number.isdigit() and len(number) < 20 and int(number) * unit <= BYTES_MAX):
        raise BadSettings(f"--bytes-max takes a number of bytes, with K, M, G or T, or {NONE}, not {text!r}")
    return int(number) * unit


def _text(kept: RetentionKept) -> str:
    rule = kept.retention
    days = "for ever" if rule.unused_days is None else f"for {count_text(rule.unused_days, 'day')}"
    size = "as much as there is" if rule.bytes_max is None else f"at most {bytes_text(rule.bytes_max)}"
    used = f"{size}; there is {bytes_text(kept.used_bytes)}"
    return facts([("namespace", kept.namespace), ("unused is kept", days), ("at rest", used)])
