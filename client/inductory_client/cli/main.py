"""`inductory`: reads the command line, runs one command, and turns every ending into an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from inductory_client.contract.errors import InductoryError
from inductory_client.version import __version__

from .command import COMMANDS, load_command
from .exit_code import ExitCode, exit_code_of, exit_code_table
from .output import Output

_DESCRIPTION = "Compile once, load everywhere: a fleet's store of torch.compile kernels."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; argparse exits by itself on --help and on misuse."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(words).parse_args(words)
    output = Output(as_json=arguments.json, verbose=arguments.verbose)
    try:
        return load_command(arguments.command).run(arguments, output)
    except KeyboardInterrupt:
        output.note("inductory: interrupted")
        return ExitCode.INTERRUPTED
    except Exception as error:
        return _ended_by(error, output)


def _ended_by(error: Exception, output: Output) -> ExitCode:
    """Say why a command ended; only a bug, and only with --verbose, shows where in the code."""
    match error:
        case InductoryError():
            output.error(error)
            return exit_code_of(error)
        case BrokenPipeError():
            # The reader (`head`, a closed pager) has seen enough; let the last flush go nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.FINE
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            todo = "`inductory doctor` checks this machine's set-up."
            output.problem("os_error", f"{where}{error.strerror or error}", todo)
        case _:
            if output.verbose:
                raise error
            output.problem("bug", f"{type(error).__name__}: {error}", "This is a bug; --verbose shows where.")
    return ExitCode.FAILED


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; only the command that is asked for declares its arguments, as that imports it."""
    parser = argparse.ArgumentParser(
        prog="inductory",
        description=_DESCRIPTION,
        epilog=exit_code_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_common(parser)
    parser.add_argument("--version", action="version", version=f"inductory {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = next((word for word in words if word in COMMANDS), None)
    for name, (_, summary) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=exit_code_table(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == wanted:
            load_command(name).add_arguments(command)
            _add_common(command, default=argparse.SUPPRESS)
    return parser


def _add_common(parser: argparse.ArgumentParser, default: Any = False) -> None:
    """Declare what may stand before the command and behind it; behind it, `default` keeps what was before."""
    parser.add_argument(
        "--json", action="store_true", default=default, help="print one JSON value instead of text"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", default=default, help="say on standard error what is going on"
    )


if __name__ == "__main__":
    sys.exit(main())
