"""The commands: their names and one line each, and the module to import when one is wanted.

Importing a command costs time, so `inductory status` imports `status` and nothing of the others.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Protocol, cast

from .output import Output

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("inductory_client.cli.serve", "run a store: SQLite and a folder, or what its settings say"),
    "compile": ("inductory_client.cli.compile", "compile a model ahead of time and publish it"),
    "keygen": ("inductory_client.cli.keygen", "make the key that this machine signs with"),
    "lookup": (
        "inductory_client.cli.lookup",
        "list artifacts by what they are and who uses them, or show one",
    ),
    "push": (
        "inductory_client.cli.push",
        "publish a vLLM cache folder, or what the store lacks of the local cache",
    ),
    "pull": ("inductory_client.cli.pull", "fetch a build into the local cache, or write a vLLM cache folder"),
    "status": ("inductory_client.cli.status", "show the store, the local cache and the trusted keys"),
    "explain": ("inductory_client.cli.explain", "say why artifacts were missed here, factor by factor"),
    "verify": ("inductory_client.cli.verify", "look for damaged blobs, here or in a build at the store"),
    "scrub": (
        "inductory_client.cli.scrub",
        "look whether a store has the bytes that it promises",
    ),
    "repair": ("inductory_client.cli.repair", "scrub a store, and mend what can be mended"),
    "gc": (
        "inductory_client.cli.gc",
        "condemn what nobody needs, and delete what was condemned for long enough",
    ),
    "roots": ("inductory_client.cli.roots", "list what a store never deletes, add to it, and remove from it"),
    "retention": (
        "inductory_client.cli.retention",
        "show or set for how long a namespace keeps what nobody uses, and how much",
    ),
    "doctor": ("inductory_client.cli.doctor", "say in words what is wrong with this machine's set-up"),
}
"""Module and summary, by name."""


class Command(Protocol):
    """What a command's module holds."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own arguments."""

    def run(self, arguments: argparse.Namespace, output: Output) -> int:
        """Do it and return the exit code. Raises InductoryError."""


def load_command(name: str) -> Command:
    """Import the module of a command."""
    return cast(Command, import_module(COMMANDS[name][0]))
