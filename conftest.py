"""Keeps tests away from the user's own files: every test run has a home of its own, and removes it.

This file lies at the root so that it is read before any other conftest, and before anything reads the
environment. The environment is changed once and not by fixture: tests start processes, and torch reads it on
import.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import hypothesis
import pytest

_FOREIGN = ("AWS_", "INDUCTORY_", "TORCHINDUCTOR_", "TORCHDYNAMO_", "TORCH_LOGS", "TRITON_")
_HOMES = {
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "HF_HOME": "huggingface",
}


def _own_home() -> tempfile.TemporaryDirectory[str]:
    home = tempfile.TemporaryDirectory(prefix="inductory-tests-", ignore_cleanup_errors=True)
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    for name, folder in _HOMES.items():
        path = Path(home.name, folder)
        path.mkdir()
        os.environ[name] = str(path)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    return home


_home = _own_home()


# No test is judged by the clock, and CI tries the same examples every time.
hypothesis.settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("house")


def pytest_unconfigure(config: pytest.Config) -> None:
    _home.cleanup()
