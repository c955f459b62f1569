"""Do the settings make sense?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from inductory_client.settings import PREFIX, STORE_PREFIX, Settings, nearest_setting

from .check import Check


def check_variables(environ: Mapping[str, str]) -> Iterator[Check]:
    """Look for variables that nobody reads, and for those that get in the way."""
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__}
    unknown = [check for name in sorted(environ.keys() - known) if (check := _unknown(name))]
    yield from unknown or [Check("variables", "ok", "Every INDUCTORY_* variable is known.")]
    if environ.get("VLLM_PLUGINS"):
        yield Check(
            "variables",
            "warn",
            "VLLM_PLUGINS is set, and vLLM hashes it: its own cache is missed by processes without it.",
            "Unset it; Inductory needs no entry there.",
        )


def _unknown(name: str) -> Check | None:
    """Return the finding for a variable that a client doesn't read; None where that is as it should be."""
    if not name.startswith(PREFIX):
        return None
    nearest = nearest_setting(name.removeprefix(PREFIX).lower())
    if name.startswith(PREFIX + STORE_PREFIX.upper()) and nearest is None:
        return None  # the store's own
    todo = "Remove it; the README lists what there is."
    if nearest is not None:
        todo = f"Did you mean {PREFIX}{nearest.upper()}?"
    return Check("variables", "warn", f"{name} is not a setting, so nothing reads it.", todo)


def check_settings(settings: Settings) -> Iterator[Check]:
    """Look for settings that contradict each other."""
    if settings.disabled:
        yield Check(
            "settings",
            "warn",
            "INDUCTORY_DISABLED is on: models are compiled as by stock Inductor.",
            "Unset it.",
        )
    elif settings.on_miss == "error" and settings.url is None:
        yield Check(
            "settings",
            "fail",
            "A miss is an error (INDUCTORY_ON_MISS=error) and there is no store to hit.",
            "Set INDUCTORY_URL, or INDUCTORY_ON_MISS=compile.",
        )
    elif settings.url is not None and settings.store_deadline_s == 0:
        yield Check(
            "settings",
            "warn",
            "INDUCTORY_STORE_DEADLINE_S is 0, so the store is never waited for.",
            "Give it a second or two.",
        )
    else:
        yield Check("settings", "ok", "The settings make sense.")
