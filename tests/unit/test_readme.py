"""The README's tables are the settings and commands that there are."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from inductory_client.cli.command import COMMANDS
from inductory_client.settings import Settings
from inductory_store.settings import StoreSettings

README = (Path(__file__).parents[2] / "README.md").read_text()


def first_cells(pattern: str) -> list[str]:
    return re.findall(rf"^\| `{pattern}` \|", README, re.MULTILINE)


def test_every_setting_is_listed_in_order() -> None:
    ours = [f"INDUCTORY_{name.upper()}" for name in Settings.__struct_fields__]
    stores = [f"INDUCTORY_STORE_{field.name.upper()}" for field in fields(StoreSettings)]
    assert first_cells("(INDUCTORY_[A-Z0-9_]+)") == ours + stores


def test_every_command_is_listed_with_its_summary() -> None:
    listed = re.findall(r"^\| `inductory (\w+)` \| (.*?) \|$", README, re.MULTILINE)
    assert listed[0] == ("serve", "run a store")
    assert [name for name, _ in listed] == list(COMMANDS)
    assert all(COMMANDS[name][1].startswith(summary) for name, summary in listed)


def test_a_machine_that_runs_both_sides_may_set_every_variable() -> None:
    """`INDUCTORY_STORE_DEADLINE_S` is a client's, though it begins as the store's do."""
    given = {
        "INDUCTORY_STORE_DEADLINE_S": "3",
        "INDUCTORY_STORE_PORT": "9",
        "INDUCTORY_URL": "http://localhost:9",
    }
    assert StoreSettings.load(given).port == 9
    assert Settings.load(given).store_deadline_s == 3
