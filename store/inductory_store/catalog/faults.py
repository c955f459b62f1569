"""A driver's errors in our words. The driver's own go to the log, and nowhere else."""

from __future__ import annotations

from inductory_client.contract.errors import InductoryError, Malformed, StorageFailed, StorageFull
from sqlalchemy.exc import DataError

_FULL = {"SQLITE_FULL", "53100"}


def driver_code(error: Exception) -> str:
    """Return what the driver calls an error: SQLite's name for it, an SQLSTATE, or nothing."""
    cause = getattr(error, "orig", None) or error
    return getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or ""


def fault_of(error: Exception, message: str) -> InductoryError:
    """Return the error that leaves the catalog for one of a driver's; a failure says `message`.

    A deadlock is a failure, too, and whoever asked may try again. Nothing is repeated here: writers take rows
    in one order, so that there is none.
    """
    if driver_code(error) in _FULL:
        return StorageFull()
    if isinstance(error, DataError):
        # PostgreSQL's text has no NUL. All else that doesn't fit a column was refused before it came here.
        return Malformed("a text can't be kept or looked for as it is: it holds a NUL character")
    return StorageFailed(message)
