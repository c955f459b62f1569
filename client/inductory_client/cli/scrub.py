"""`inductory scrub`: whether a store has the bytes that it promises."""

from __future__ import annotations

import argparse

from . import scrubbing
from .output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    scrubbing.add_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit 1 where anything was found."""
    return scrubbing.run(arguments, output, repair=False)
