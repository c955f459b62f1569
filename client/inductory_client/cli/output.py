"""What a command prints: its result on standard output, for people or as JSON; all else on standard error."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from inductory_client.contract.errors import InductoryError

from .advice import advice_for
from .progress import Progress
from .table import printable


class Output:
    """Where results, progress, notes and errors go.

    With --json standard output carries one JSON value, and no more.
    """

    def __init__(self, *, as_json: bool, verbose: bool) -> None:
        self._as_json = as_json
        self.verbose = verbose
        self.progress = Progress(sys.stderr, verbose=verbose)

    def result(self, value: Any, text: str) -> None:
        """Print the outcome: `text` for people, or `value` as JSON."""
        self.progress.close()
        if self._as_json:
            text = msgspec.json.format(msgspec.json.encode(value, order="sorted")).decode()
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def note(self, message: str) -> None:
        """Say something beside the result."""
        self.progress.close()
        sys.stderr.write("".join(f"{printable(line)}\n" for line in message.split("\n")))

    def error(self, error: InductoryError) -> None:
        """Say what went wrong and what to do, and leave JSON for those who asked for it."""
        todo = advice_for(error)
        self.problem(error.code, error.message, todo, retryable=error.retryable)

    def problem(self, code: str, message: str, todo: str | None = None, *, retryable: bool = False) -> None:
        """Say that something failed, and what to do."""
        # A message may come from the store: its further lines are set in, so that none looks like ours.
        told = "\n    ".join(message.split("\n"))
        self.note(f"inductory: {told}" + (f"\n  {todo}" if todo else ""))
        if self._as_json:
            problem = {"code": code, "message": message, "todo": todo, "retryable": retryable}
            self.result({"error": problem}, "")
