"""What commands print: tables, counts, JSON, progress; and the exit codes they end with."""

from __future__ import annotations

import io
import json
import re

import pytest
from inductory_client.cli.advice import ADVICE
from inductory_client.cli.command import COMMANDS, load_command
from inductory_client.cli.exit_code import MEANINGS, ExitCode, exit_code_of, exit_code_table
from inductory_client.cli.main import main
from inductory_client.cli.output import Output
from inductory_client.cli.progress import Progress
from inductory_client.cli.table import bytes_text, count_text, facts, seconds_text, table
from inductory_client.contract.errors import (
    ERRORS,
    BadSettings,
    CompilerAbsent,
    DeadlineExceeded,
    InductoryError,
    NotFound,
    StorageFull,
    UntrustedSigner,
)
from inductory_client.settings import Settings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_is_aligned() -> None:
    text = table(("NAME", "SIZE"), [("a", 1), ("longer", None), ("c", 1234)], right=("SIZE",))
    assert text.splitlines() == ["NAME    SIZE", "a          1", "longer     -", "c       1234"]


def test_names_from_elsewhere_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in table(("NAME",), [("\x1b[2Jgone",)])
    assert facts([("name", "two\nlines")]) == "name  two?lines"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (4506, "4.4 KiB"), (7018199, "6.7 MiB"), (3 << 40, "3072.0 GiB")],
)
def test_bytes_as_people_read_them(count: int, text: str) -> None:
    assert bytes_text(count) == text


def test_counts_and_seconds_as_people_read_them() -> None:
    assert [count_text(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [seconds_text(seconds) for seconds in (0.0124, 3.44)] == ["12 ms", "3.4 s"]


def test_every_exit_code_is_explained_and_every_error_has_one() -> None:
    assert set(MEANINGS) == set(ExitCode)
    assert all(f"{code.value:>3}  {meaning}" in exit_code_table() for code, meaning in MEANINGS.items())
    codes = {exit_code_of(error("x")) for error in ERRORS.values()}
    assert codes <= set(ExitCode) - {ExitCode.FINE, ExitCode.INTERRUPTED}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound(), ExitCode.FOUND),
        (BadSettings(), ExitCode.USAGE),
        (DeadlineExceeded(), ExitCode.UNREACHABLE),
        (UntrustedSigner(), ExitCode.REFUSED),
        (CompilerAbsent(), ExitCode.ABSENT),
        (StorageFull(), ExitCode.FAILED),
        (InductoryError(), ExitCode.FAILED),
    ],
)
def test_errors_end_with_their_code(error: InductoryError, code: ExitCode) -> None:
    assert exit_code_of(error) == code


def test_json_is_one_value_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True, verbose=False).result({"b": 1, "a": (None, "é")}, "text")
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"a": [None, "é"], "b": 1}
    assert printed.err == ""


def test_an_error_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False, verbose=False).error(UntrustedSigner("signed by nobody known"))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("inductory: signed by nobody known\n")
    assert "inductory keygen" in printed.err
    Output(as_json=True, verbose=False).error(UntrustedSigner("signed by nobody known"))
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "untrusted_signer"


def test_progress_renews_one_line_on_a_terminal() -> None:
    stream = Terminal()
    progress = Progress(stream, verbose=False)
    progress("one")
    progress("two" * 1000)
    progress.close()
    progress.close()
    lines = stream.getvalue().split("\r\x1b[K")
    assert lines[:2] == ["", "one"]
    assert 0 < len(lines[2]) < 1000
    assert lines[3:] == [""]


def test_progress_is_plain_lines_where_asked_for_and_nothing_else() -> None:
    silent, plain = io.StringIO(), io.StringIO()
    for stream, verbose in ((silent, False), (plain, True)):
        progress = Progress(stream, verbose=verbose)
        progress("one")
        progress("two")
        progress.close()
    assert (silent.getvalue(), plain.getvalue()) == ("", "one\ntwo\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name: str) -> None:
    command = load_command(name)
    assert callable(command.add_arguments)
    assert callable(command.run)


def test_what_a_store_says_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b[2J\x9b1mgone\ninductory: all is well"
    output = Output(as_json=False, verbose=True)
    output.error(NotFound(hostile))
    output.progress(hostile)
    said = capsys.readouterr().err
    assert all(character.isprintable() or character == "\n" for character in said)
    assert [line for line in said.splitlines() if line.startswith("inductory: ")] == [
        "inductory: ?[2J?1mgone"
    ]


def test_advice_names_only_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    advice = " ".join(ADVICE.values())
    helps = ""
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        helps += capsys.readouterr().out
    assert {option for option in re.findall(r"--[a-z-]+", advice)} <= set(re.findall(r"--[a-z-]+", helps))
    assert set(re.findall(r"`inductory (\w+)", advice)) <= set(COMMANDS)
    variables = {f"INDUCTORY_{name.upper()}" for name in Settings.__struct_fields__}
    assert set(re.findall(r"INDUCTORY_[A-Z_]+", advice)) <= variables
