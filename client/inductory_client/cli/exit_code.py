"""Exit codes: one table, which `--help` prints and every command keeps to."""

from __future__ import annotations

from enum import IntEnum

from inductory_client.contract.errors import (
    BadSettings,
    CompilerAbsent,
    InductoryError,
    NotFound,
    PieceMissing,
    StorageFailed,
    StorageFull,
    StoreUnavailable,
)


class ExitCode(IntEnum):
    FINE = 0
    FOUND = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    ABSENT = 5
    FAILED = 6
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.FINE: "all went well",
    ExitCode.FOUND: "a finding: a miss, damage, a failed check",
    ExitCode.USAGE: "the command line or a setting makes no sense",
    ExitCode.UNREACHABLE: "the store can't be reached, or didn't answer in time",
    ExitCode.REFUSED: (
        "refused: malformed, damaged, signed by nobody trusted, for another target, or another's to publish"
    ),
    ExitCode.ABSENT: "a part of Inductory isn't installed here; the message says which",
    ExitCode.FAILED: "this machine or the store failed: a full disk, missing rights, a bug",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C; nothing is half-written under its final name",
}


def exit_code_of(error: InductoryError) -> ExitCode:
    """Return the exit code of an error that ended a command."""
    match error:
        case NotFound() | PieceMissing():
            return ExitCode.FOUND
        case BadSettings():
            return ExitCode.USAGE
        case CompilerAbsent():
            return ExitCode.ABSENT
        case StorageFull() | StorageFailed():
            return ExitCode.FAILED
        case StoreUnavailable():
            return ExitCode.UNREACHABLE
    if error.retryable:
        return ExitCode.UNREACHABLE
    return ExitCode.REFUSED if error.status < 500 else ExitCode.FAILED


def exit_code_table() -> str:
    """Return the table as it stands below `--help`."""
    lines = [f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join(["exit codes:", *lines])
