"""The doctor's checks find what they are there for, and say what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from inductory_client.cli.checks import disk, software
from inductory_client.cli.checks.check import Check
from inductory_client.cli.checks.configuration import check_settings, check_variables
from inductory_client.cli.checks.disk import check_cache_folder
from inductory_client.cli.checks.keys import check_keys
from inductory_client.cli.checks.reach import check_clock, check_store
from inductory_client.cli.checks.software import check_software, is_supported
from inductory_client.settings import Settings
from inductory_client.trust import load_signing_key


def settings(tmp_path: Path, **given: Any) -> Settings:
    given = {"cache_dir": tmp_path / "cache", "config_dir": tmp_path / "config", **given}
    return Settings.load({}, **given)


def states(checks: Iterable[Check]) -> dict[str, str]:
    found = list(checks)
    assert all(check.todo for check in found if check.state == "fail"), "a failure says what to do"
    return {check.name: check.state for check in found}


def test_variables_nobody_reads_are_found() -> None:
    good = {"INDUCTORY_URL": "x", "INDUCTORY_STORE_PORT": "1", "PATH": ""}
    assert [check.state for check in check_variables(good)] == ["ok"]
    (check,) = check_variables({"INDUCTORY_URLL": "x"})
    assert (check.state, check.todo) == ("warn", "Did you mean INDUCTORY_URL?")
    (check,) = check_variables({"INDUCTORY_STORE_DEADLIN_S": "x"})
    assert check.todo == "Did you mean INDUCTORY_STORE_DEADLINE_S?"


def test_a_plugin_list_of_vllm_is_found() -> None:
    assert [check.state for check in check_variables({"VLLM_PLUGINS": "x"})] == ["ok", "warn"]


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({}, "ok"),
        ({"disabled": True}, "warn"),
        ({"on_miss": "error"}, "fail"),
        ({"on_miss": "error", "url": "http://x"}, "ok"),
        ({"store_deadline_s": 0, "url": "http://x"}, "warn"),
    ],
)
def test_settings_that_contradict_each_other_are_found(
    tmp_path: Path, given: dict[str, Any], state: str
) -> None:
    assert states(check_settings(settings(tmp_path, **given))) == {"settings": state}


def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = settings(tmp_path, cache_bytes_max=1)
    assert states(check_cache_folder(small)) == {"cache folder": "ok", "cache room": "ok"}
    small.cache_dir.chmod(0o755)
    assert states(check_cache_folder(small))["cache folder"] == "warn"
    monkeypatch.setattr(disk, "LITTLE_BYTES", 1 << 80)
    assert states(check_cache_folder(small))["cache room"] == "warn"
    huge = settings(tmp_path, cache_bytes_max=1 << 62)
    assert states(check_cache_folder(huge))["cache room"] == "warn"


def test_a_cache_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert states(check_cache_folder(settings(tmp_path, cache_dir=tmp_path / "file/x"))) == {
        "cache folder": "fail"
    }


def test_a_cache_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert states(check_cache_folder(settings(tmp_path, cache_bytes_max=1)))["cache folder"] == "warn"


def test_keys(tmp_path: Path) -> None:
    here = settings(tmp_path)
    assert states(check_keys(here)) == {"signing key": "ok", "trusted keys": "warn"}
    load_signing_key(here)
    assert states(check_keys(here)) == {"signing key": "ok", "trusted keys": "ok"}
    here.config_dir.chmod(0o777)
    assert states(check_keys(here))["signing key"] == "fail"
    here.config_dir.chmod(0o700)
    (here.config_dir / "key.pem").chmod(0o644)
    assert states(check_keys(here))["signing key"] == "fail"
    (here.config_dir / "key.pem").write_text("damaged")
    assert states(check_keys(here)) == {"signing key": "fail", "trusted keys": "fail"}


def test_a_trusted_key_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.pub").write_text("ed25519 short")
    here = settings(tmp_path, trusted_keys=str(tmp_path / "x.pub"))
    assert states(check_keys(here))["trusted keys"] == "fail"


def test_software(monkeypatch: pytest.MonkeyPatch) -> None:
    here = states(check_software())
    assert here["torch"] == here["backend"] == here["inductory"] == "ok"
    monkeypatch.setattr(software, "version_of", lambda name: {"torch": "2.9.1"}.get(name))
    monkeypatch.setattr(software, "ENTRY_NAME", "nobody")
    monkeypatch.setenv("CXX", "no-such-compiler")
    elsewhere = states(check_software())
    assert (elsewhere["torch"], elsewhere["backend"], elsewhere["C++ compiler"]) == ("fail", "fail", "warn")


@pytest.mark.parametrize(
    ("version", "supported"),
    [
        ("2.11.0", True),
        ("2.13.0+cpu", True),
        ("2.15.0.dev20261101", True),
        ("2.10.1", False),
        ("3.0", True),
        ("x", False),
    ],
)
def test_supported_versions_of_torch(version: str, supported: bool) -> None:
    assert is_supported(version) is supported


def test_the_clock() -> None:
    assert [check_clock(now).state for now in (0.0, 1_800_000_000.0)] == ["fail", "ok"]


def test_no_store_and_a_store_that_is_not_there(tmp_path: Path) -> None:
    assert states(check_store(settings(tmp_path))) == {"store": "warn"}
    assert states(check_store(settings(tmp_path, url="http://127.0.0.1:9"))) == {"store": "fail"}
