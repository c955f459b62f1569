"""What `inductory scrub` and `inductory repair` share, and `inductory gc` in part.

A seam: this reaches the store's package.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .exit_code import ExitCode
from .output import Output
from .table import bytes_text, count_text, facts, table

if TYPE_CHECKING:
    from inductory_store.operations.scrub import Scrubbed

_WORDS = {
    "lost": ("promised, and not there", "asked of the next publisher"),
    "damaged": ("promised, and other bytes", "asked of the next publisher"),
    "whole": ("there again", "promised again"),
    "unpromised": ("there, and promised nowhere", "promised"),
    "foreign": ("not the bytes of its name, and promised nowhere", "left alone"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--presence",
        action="store_true",
        help="look only whether promised blobs are there",
    )
    add_data_dir(parser)


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Declare where a store is whose package is reached, and not asked over HTTP."""
    parser.add_argument(
        "--data-dir",
        type=lambda text: Path(text).expanduser(),
        metavar="FOLDER",
        help="where blobs and catalog rest (INDUCTORY_STORE_DATA_DIR); other settings are a store's own",
    )


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a store that the command line names."""
    return {} if arguments.data_dir is None else {"data_dir": arguments.data_dir}


def run(arguments: argparse.Namespace, output: Output, *, repair: bool) -> int:
    try:
        from inductory_store.operations.scrub import scrub
        from inductory_store.serve import opened
        from inductory_store.settings import StoreSettings
    except ModuleNotFoundError as error:
        output.problem("store_absent", f"the store needs {error.name}", "pip install 'inductory[store]'")
        return ExitCode.ABSENT
    with opened(StoreSettings.load(**given_settings(arguments))) as store:
        found = scrub(
            store,
            read=not arguments.presence,
            repair=repair,
            progress=lambda blobs, size: output.progress(f"{count_text(blobs, 'blob')}, {bytes_text(size)}"),
        )
    output.result(found, _text(found, repair))
    return ExitCode.FOUND if found.found else ExitCode.FINE


def _text(found: Scrubbed, repair: bool) -> str:
    text = facts([("blobs", found.blobs), ("read", bytes_text(found.read_bytes))])
    if not found.found:
        return f"{text}\n\nEvery promise holds."
    if repair:
        text += "\n\n" + table(
            ("blob", "was", "is"), [(each.digest, *_WORDS[each.what]) for each in found.found]
        )
        return text
    text += "\n\n" + table(("blob", "is"), [(each.digest, _WORDS[each.what][0]) for each in found.found])
    return f"{text}\n\n`inductory repair` mends what can be mended. Neither deletes anything."
