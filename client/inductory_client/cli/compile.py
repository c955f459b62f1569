"""`inductory compile`: a model's code, made ahead of time and published. This reaches the compiler."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from inductory_client.contract.errors import BadSettings

from .exit_code import ExitCode
from .options import add_settings_options, settings_of
from .output import Output
from .table import facts

_DTYPES = ("float32", "bfloat16", "float16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a transformers config.json or its folder, or module:function"
    )
    parser.add_argument(
        "--tokens",
        type=_tokens,
        default=(2, None),
        metavar="N|LOW-HIGH",
        help="prompt length: 16, 2-4096, or 2-",
    )
    parser.add_argument("--batch", type=_positive, default=1, metavar="N", help="sequences at a time (1)")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32", help="of the weights (float32)")
    parser.add_argument(
        "--decode", action="store_true", help="compile generating, too: one token after the prompt"
    )
    parser.add_argument(
        "--label", metavar="NAME", help="what the build is called; the model's name if left out"
    )
    add_settings_options(parser, "url", "namespace", "cache_dir", "config_dir")


def run(arguments: argparse.Namespace, output: Output) -> int:
    settings = settings_of(arguments)
    try:
        import torch  # noqa: F401
        from inductory_compiler.ahead import CompileRequest, compile_ahead
    except ModuleNotFoundError as error:
        output.problem(
            "compiler_absent", f"compiling needs {error.name}", "pip install 'inductory[compiler]'"
        )
        return ExitCode.ABSENT
    _check_model(arguments.model)
    request = CompileRequest(
        model=arguments.model,
        batch=arguments.batch,
        tokens=arguments.tokens,
        decode=arguments.decode,
        dtype=arguments.dtype,
        settings=settings,
        label=arguments.label,
    )
    report: dict[str, Any] = compile_ahead(request, output.progress)
    output.result(report, facts((name.replace("_", " "), value) for name, value in report.items()))
    return ExitCode.FINE


def _check_model(text: str) -> None:
    """Raise BadSettings where `text` names nothing that could be compiled."""
    path = Path(text)
    if ":" not in text and not path.exists():
        raise BadSettings(f"{text!r} is neither a config.json, nor a folder with one, nor module:function")
    if path.is_dir() and not (path / "config.json").exists():
        raise BadSettings(f"{text} holds no config.json")


def _tokens(text: str) -> tuple[int, int | None] | int:
    match = re.fullmatch(r"(\d{1,9})(-(\d{1,9})?)?", text)
    if match is None or int(match[1]) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length; write 16, 2-4096 or 2-")
    low, high = int(match[1]), None if match[3] is None else int(match[3])
    if match[2] is None:
        return low
    if high is not None and high < low:
        raise argparse.ArgumentTypeError(f"{text!r} ends before it begins")
    return low, high


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
