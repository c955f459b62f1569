"""`inductory keygen`: the key that this machine signs with."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inductory_client.contract.errors import BadSettings
from inductory_client.keyfiles import KEY_NAME, PUBLIC_NAME, TRUSTED_NAME, make_folder, public_line, write_new
from inductory_client.trust import SigningKey

from .exit_code import ExitCode
from .options import add_settings_options, settings_of
from .output import Output
from .table import facts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_options(parser, "config_dir")
    parser.add_argument("--comment", metavar="TEXT", help="whose key it is; inductory@<host> if left out")
    parser.add_argument(
        "--force", action="store_true", help="make a new key where there is one; the old one is kept aside"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    folder = settings_of(arguments).config_dir
    comment = arguments.comment or f"inductory@{os.uname().nodename}"
    if not comment.isprintable():
        raise BadSettings("a comment is one line of text")
    if (folder / KEY_NAME).exists() and not arguments.force:
        raise BadSettings(
            f"there is a key already: {folder / KEY_NAME}; --force makes a new one and keeps it"
        )
    aside = _put_aside(folder)
    key = SigningKey.generate()
    line = public_line(key.public_key, comment)
    make_folder(folder)
    if not write_new(folder / KEY_NAME, key.to_pem(), 0o600):
        raise BadSettings(f"another process made {folder / KEY_NAME} just now; nothing was changed")
    write_new(folder / PUBLIC_NAME, line.encode(), 0o644)
    value: dict[str, Any] = {
        "private_key": str(folder / KEY_NAME),
        "public_key": str(folder / PUBLIC_NAME),
        "line": line.strip(),
        "signer": key.signer,
        "trusted_folder": str(folder / TRUSTED_NAME),
        "kept_aside": [str(path) for path in aside],
    }
    output.result(value, _text(value))
    return ExitCode.FINE


def _put_aside(folder: Path) -> list[Path]:
    """Rename the key pair; what it signed stays valid wherever its public key is trusted."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    moved = []
    for name in (KEY_NAME, PUBLIC_NAME):
        path = folder / name
        if path.exists():
            moved.append(path.rename(path.with_name(f"{name}.{stamp}")))
    return moved


def _text(value: dict[str, Any]) -> str:
    pairs = [
        ("private key", value["private_key"]),
        ("public key", value["public_key"]),
        ("signer", value["signer"]),
    ]
    pairs += [("kept aside", path) for path in value["kept_aside"]]
    return (
        f"{facts(pairs)}\n\n{value['line']}\n\n"
        f"This machine trusts its own key. To have others load what it publishes, put that line into a\n"
        f"file {value['trusted_folder']}/NAME.pub over there."
    )
