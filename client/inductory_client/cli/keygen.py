"""`inductory keygen`: the key that this machine signs with."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inductory_client.contract.errors import BadSettings
from inductory_client.keyfiles import (
    KEY_NAME,
    PUBLIC_NAME,
    TRUSTED_NAME,
    is_public_half,
    make_folder,
    public_line,
    read_guarded,
    write_new,
)
from inductory_client.trust import SigningKey, load_signing_key

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
    """Idempotent: where there is a key, it is shown, and replaced only with --force."""
    settings = settings_of(arguments)
    folder = settings.config_dir
    comment = arguments.comment or f"inductory@{os.uname().nodename}"
    if not comment.isprintable():
        raise BadSettings("a comment is one line of text")
    makes = arguments.force or not (folder / KEY_NAME).exists()
    if arguments.comment and not makes:
        output.note("--comment is for a new key; the one that is here keeps its own")
    aside = _put_aside(folder) if makes else []
    key = _make(folder, comment) if makes else load_signing_key(settings)
    value: dict[str, Any] = {
        "created": makes,
        "private_key": str(folder / KEY_NAME),
        "public_key": str(folder / PUBLIC_NAME),
        "line": _line(folder / PUBLIC_NAME, key, comment, output),
        "signer": key.signer,
        "trusted_folder": str(folder / TRUSTED_NAME),
        "kept_aside": [str(path) for path in aside],
    }
    output.result(value, _text(value))
    return ExitCode.FINE


def _make(folder: Path, comment: str) -> SigningKey:
    key = SigningKey.generate()
    make_folder(folder)
    if not write_new(folder / KEY_NAME, key.to_pem(), 0o600):
        raise BadSettings(f"another process made {folder / KEY_NAME} just now; nothing was changed")
    write_new(folder / PUBLIC_NAME, public_line(key.public_key, comment).encode(), 0o644)
    return key


def _line(path: Path, key: SigningKey, comment: str, output: Output) -> str:
    """Return the line to give away: the file's where it is this key's, for its comment, else a new one."""
    if is_public_half(path, key.public_key):
        lines = (line.strip() for line in read_guarded(path).decode().splitlines())
        return next(line for line in lines if line.startswith("ed25519 "))
    output.note(f"{path} isn't this key's public half; remove it, and give others the line below")
    return public_line(key.public_key, comment).strip()


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
    made = "" if value["created"] else "This machine has a key already; --force makes a new one.\n\n"
    return (
        f"{made}{facts(pairs)}\n\n{value['line']}\n\n"
        "This machine trusts its own key. To have others load what it publishes, put that line into a\n"
        f"file {value['trusted_folder']}/NAME.pub over there."
    )
