"""`inductory keygen` makes a key, never loses one, and says whom to give the public half."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from inductory_client.cli.checks.keys import check_keys
from inductory_client.cli.main import main
from inductory_client.keyfiles import read_public
from inductory_client.settings import Settings
from inductory_client.trust import Keyring, load_signing_key


def keygen(folder: Path, *words: str) -> int:
    return main(["keygen", "--config-dir", str(folder), *words])


def test_a_key_is_made_and_trusted_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "config"
    assert keygen(folder, "--json", "--comment", "builder 7") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["line"].startswith("ed25519 ")
    assert made["line"].endswith(" builder 7")
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    settings = Settings.load({}, config_dir=folder)
    assert load_signing_key(settings, create=False).signer == made["signer"]
    assert Keyring.load(settings, strict=True).trusts(made["signer"])
    trusting = tmp_path / "other" / "trusted"
    trusting.mkdir(parents=True)
    (trusting / "builder.pub").write_text(made["line"])
    assert Keyring.load(Settings.load({}, config_dir=tmp_path / "other"), strict=True).trusts(made["signer"])


def test_a_key_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keygen(tmp_path, "--json")
    before, made = (tmp_path / "key.pem").read_bytes(), json.loads(capsys.readouterr().out)
    assert keygen(tmp_path, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (made["created"], shown["created"]) == (True, False)
    assert shown == {**made, "created": False}
    assert (tmp_path / "key.pem").read_bytes() == before
    keygen(tmp_path)
    assert "--force" in capsys.readouterr().out


def test_force_keeps_the_old_one_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keygen(tmp_path)
    old, public = (tmp_path / "key.pem").read_bytes(), (tmp_path / "key.pub").read_bytes()
    capsys.readouterr()
    assert keygen(tmp_path, "--force", "--json") == 0
    kept = [Path(path).read_bytes() for path in json.loads(capsys.readouterr().out)["kept_aside"]]
    assert kept == [old, public]
    assert (tmp_path / "key.pem").read_bytes() != old
    signer = load_signing_key(Settings.load({}, config_dir=tmp_path), create=False)
    assert read_public(tmp_path / "key.pub") == (signer.public_key,)


def test_a_damaged_key_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("damaged")
    assert keygen(tmp_path) == 2
    assert (tmp_path / "key.pem").read_text() == "damaged"


def test_a_comment_is_one_line(tmp_path: Path) -> None:
    assert keygen(tmp_path, "--comment", "two\nlines") == 2
    assert list(tmp_path.iterdir()) == []


def test_the_line_is_of_the_key_that_signs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A `key.pub` of another key would be given away for nothing: the others would still refuse."""
    keygen(tmp_path / "other")
    keygen(tmp_path / "here")
    os.replace(tmp_path / "other" / "key.pub", tmp_path / "here" / "key.pub")
    capsys.readouterr()
    assert keygen(tmp_path / "here", "--json") == 0
    said = capsys.readouterr()
    assert "isn't this key's public half" in said.err
    (tmp_path / "line.pub").write_text(json.loads(said.out)["line"])
    own = load_signing_key(Settings.load({}, config_dir=tmp_path / "here"), create=False)
    assert read_public(tmp_path / "line.pub") == (own.public_key,)
    settings = Settings.load({}, cache_dir=tmp_path, config_dir=tmp_path / "here")
    assert "isn't the public half" in next(check_keys(settings)).what


def test_a_comment_for_a_key_that_is_there_is_said_to_be_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keygen(tmp_path, "--comment", "first")
    assert "--comment" not in capsys.readouterr().err
    assert keygen(tmp_path, "--comment", "second", "--json") == 0
    said = capsys.readouterr()
    assert "--comment is for a new key" in said.err
    assert json.loads(said.out)["line"].endswith(" first")
