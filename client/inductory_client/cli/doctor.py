"""`inductory doctor`: what is wrong with this machine's set-up, in words, and what to do."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator

from inductory_client.contract.errors import BadSettings
from inductory_client.settings import Settings

from .checks.check import Check
from .checks.configuration import check_settings, check_variables
from .checks.disk import check_cache_folder
from .checks.keys import check_keys
from .checks.reach import check_clock, check_store
from .checks.software import check_software
from .exit_code import ExitCode
from .options import add_settings_options, settings_of
from .output import Output
from .table import count_text

_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser, "url", "namespace", "cache_dir", "config_dir")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit 0 unless a check fails; a warning isn't a failure."""
    checks = []
    for check in _checks(arguments):
        checks.append(check)
        output.progress(f"checked: {check.name}")
    failed = sum(check.state == "fail" for check in checks)
    warned = sum(check.state == "warn" for check in checks)
    value = {"healthy": not failed, "failed": failed, "warned": warned, "checks": checks}
    output.result(value, _text(checks, failed, warned))
    return ExitCode.FOUND if failed else ExitCode.FINE


def _checks(arguments: argparse.Namespace) -> Iterator[Check]:
    yield from check_software()
    yield check_clock(time.time())
    yield from check_variables(os.environ)
    try:
        settings = settings_of(arguments)
    except BadSettings as error:
        yield Check("settings", "fail", f"{error.message}.", "Correct it; everything below depends on it.")
        return
    yield from _checks_of(settings)


def _checks_of(settings: Settings) -> Iterator[Check]:
    yield from check_settings(settings)
    yield from check_cache_folder(settings)
    yield from check_keys(settings)
    yield from check_store(settings)


def _text(checks: list[Check], failed: int, warned: int) -> str:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{_MARKS[check.state]}  {check.name.ljust(width)}  {check.what}")
        if check.todo:
            lines.append(f"{' ' * (width + 8)}-> {check.todo}")
    if failed:
        verdict = f"{count_text(failed, 'check')} of {len(checks)} failed."
    else:
        better = f"This machine works; {count_text(warned, 'thing')} could be better."
        verdict = better if warned else "This machine is set up."
    return "\n".join([*lines, "", verdict])
