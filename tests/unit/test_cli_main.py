"""The command line as a process: light to start, clear in its endings."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from inductory_client.cli.command import COMMANDS, load_command
from inductory_client.cli.main import main
from inductory_client.settings import Settings

HEAVY = {
    "torch",
    "fastapi",
    "sqlalchemy",
    "uvicorn",
    "alembic",
    "pydantic",
    "httpx",
    "requests",
    "urllib3",
    "rich",
}


def inductory(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inductory_client.cli.main", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        check=False,
    )


def test_help_lists_the_commands_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["--help"])
    printed = capsys.readouterr().out
    assert ending.value.code == 0
    assert all(f"\n    {name} " in printed for name in COMMANDS)
    assert "130  interrupted" in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main([name, "--help"])
    assert ending.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [[], ["nosuch"], ["lookup", "--nosuch"], ["compile", "x", "--tokens", "5-3"]]
)
def test_misuse_exits_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(words)
    assert ending.value.code == 2
    assert "usage: inductory" in capsys.readouterr().err


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_a_command_imports_nothing_heavy_and_no_other_command(name: str | None) -> None:
    loads = f"load_command({name!r})" if name else "_parser([])"
    code = (
        "import sys; from inductory_client.cli.main import _parser, load_command;"
        f" {loads}; print(*sys.modules, sep='\\n')"
    )
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not loaded & HEAVY
    modules = {module for module, _ in COMMANDS.values()} & loaded
    assert modules == ({COMMANDS[name][0]} if name else set())


def test_an_error_is_no_traceback_and_is_json_for_those_who_ask() -> None:
    done = inductory("lookup", "--json", "--url", "nonsense")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "bad_settings"
    assert "Traceback" not in done.stderr


def test_what_the_system_refuses_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = inductory("keygen", "--config-dir", str(tmp_path / "file" / "below"))
    assert done.returncode in (2, 6)
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr


@pytest.mark.parametrize(("command", "absent"), [("compile", "torch"), ("serve", "inductory_store.serve")])
def test_what_is_not_installed_is_named(
    command: str, absent: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    assert main([command, *(["model"] if command == "compile" else [])]) == 5
    assert "pip install 'inductory[" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "tokens"), [("16", 16), ("2-4096", (2, 4096)), ("2-", (2, None)), ("7-7", (7, 7))]
)
def test_lengths_of_prompts(text: str, tokens: object) -> None:
    parser = argparse.ArgumentParser()
    load_command("compile").add_arguments(parser)
    assert parser.parse_args(["model", "--tokens", text]).tokens == tokens


@pytest.mark.parametrize("text", ["0", "-1", "4-2", "x", "1-2-3", "", "1e3"])
def test_lengths_that_make_no_sense(text: str) -> None:
    parser = argparse.ArgumentParser()
    load_command("compile").add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["model", f"--tokens={text}"])


def test_a_bug_is_called_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(Settings, "load", broken)
    assert main(["keygen"]) == 6
    assert "RuntimeError: unforeseen" in capsys.readouterr().err
    with pytest.raises(RuntimeError):
        main(["keygen", "--verbose"])


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "inductory_client.cli.main", "status", "--config-dir", str(tmp_path)],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        ["push", "/nosuch", "--url", "http://127.0.0.1:9"],
        ["push", "/usr", "--url", "http://127.0.0.1:9"],
        ["lookup", "--submodule-index", "99999999"],
        ["lookup", "--submodule-index", "9" * 5000],
        ["lookup", "--build", "abc"],
        ["lookup", "--builds", "--shape", "8"],
        ["lookup", "--namespace", "No Such"],
    ],
)
def test_what_makes_no_sense_exits_2(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INDUCTORY_CONFIG_DIR", str(tmp_path))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "pattern" not in said
    assert "^[" not in said


def test_json_may_stand_before_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"--cache-dir={tmp_path}", f"--config-dir={tmp_path}"]
    assert main(["--json", "status", *places]) == 0
    assert json.loads(capsys.readouterr().out)["store"] is None
    assert main(["status", "--json", *places]) == 0
    assert json.loads(capsys.readouterr().out)["store"] is None
