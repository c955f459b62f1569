"""Instants as they travel."""

from __future__ import annotations

from datetime import UTC, datetime


def instant_text(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC: `2026-01-02T03:04:05Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
