"""Options that commands share, and the settings they make."""

from __future__ import annotations

import argparse
from typing import Any

from inductory_client.settings import Settings

_SHARED = {
    "url": ("URL", "address of the store (INDUCTORY_URL)"),
    "namespace": ("NAME", "the namespace to work in (INDUCTORY_NAMESPACE)"),
    "cache_dir": ("FOLDER", "where the local cache lies (INDUCTORY_CACHE_DIR)"),
    "config_dir": ("FOLDER", "where the keys lie (INDUCTORY_CONFIG_DIR)"),
}


def add_settings_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Declare the options that stand for settings of these names."""
    for name in names:
        metavar, summary = _SHARED[name]
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=summary)


def settings_of(arguments: argparse.Namespace, **overrides: Any) -> Settings:
    """Return the environment's settings under what the command line says. Raises BadSettings."""
    given = {name: getattr(arguments, name, None) for name in _SHARED}
    return Settings.load(**{name: value for name, value in given.items() if value is not None}, **overrides)
