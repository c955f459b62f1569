"""`inductory roots`: what a store never deletes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import get_args

from inductory_client.contract.digest import is_digest
from inductory_client.contract.errors import BadSettings
from inductory_client.contract.lifetime import Kind, Root, RootWanted
from inductory_client.transport import HttpStore

from .exit_code import ExitCode
from .options import add_settings_options, settings_of
from .output import Output
from .store_access import PAGES_MAX, find_build, open_store
from .table import table

_UNITS = {"h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", choices=("list", "add", "remove"), nargs="?", default="list", help="what to do (list)"
    )
    parser.add_argument("kind", choices=get_args(Kind), nargs="?", help="what it is the name of")
    parser.add_argument(
        "key", metavar="KEY", nargs="?", help="its key or id; of a build also its model's name"
    )
    parser.add_argument("--label", metavar="TEXT", default="", help="why it is kept, for people")
    parser.add_argument("--expires", metavar="TIME", help="keep it for so long: 12h, 30d, 8w (for ever)")
    add_settings_options(parser, "url", "namespace")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit 1 where there is nothing by that name."""
    settings = settings_of(arguments)
    if arguments.action == "list":
        if arguments.kind is not None or arguments.expires is not None or arguments.label:
            raise BadSettings("`inductory roots list` lists all; leave the rest out")
        with open_store(settings) as store:
            roots = list(_all(store))
        output.result({"roots": roots}, _text(roots) if roots else "there are no roots")
        return ExitCode.FINE
    if arguments.key is None:
        raise BadSettings(f"say what: inductory roots {arguments.action} build|manifest|artifact KEY")
    if arguments.action == "remove" and (arguments.expires is not None or arguments.label):
        raise BadSettings("a root that is removed needs no label and no expiry")
    wanted = RootWanted(label=arguments.label, expires_in_s=seconds_of(arguments.expires))
    with open_store(settings) as store:
        key = _key(store, arguments.kind, arguments.key)
        if arguments.action == "remove":
            root = store.delete_root(arguments.kind, key)
            output.result(root, f"{root.kind} {root.key} is kept for no root's sake any more")
            return ExitCode.FINE
        stored = store.put_root(arguments.kind, key, wanted)
    until = f"until {stored.root.expires_at}" if stored.root.expires_at else "until the root is removed"
    output.result(stored, f"{stored.root.kind} {key} is kept {until}, with all that it names")
    return ExitCode.FINE


def seconds_of(text: str | None) -> float | None:
    """Return a duration in seconds: 12h, 30d, 8w. Raises BadSettings."""
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdigit()) or not 0 < int(number[:9]) < 10_000:
        raise BadSettings(f"--expires takes a number with h, d or w for hours, days or weeks, not {text!r}")
    return int(number[:9]) * _UNITS[unit]


def _key(store: HttpStore, kind: Kind, name: str) -> str:
    if kind == "build":
        return find_build(store, name)
    if not is_digest(name):
        raise BadSettings(f"a {kind} is named by 64 lower-case hex digits")
    return name


def _all(store: HttpStore) -> Iterator[Root]:
    cursor = None
    for _ in range(PAGES_MAX):
        page = store.roots(cursor)
        yield from page.roots
        cursor = page.next
        if cursor is None:
            return


def _text(roots: list[Root]) -> str:
    rows = [(root.kind, root.key, root.label, root.created_at, _expiry(root)) for root in roots]
    return table(("kind", "key", "label", "since", "until"), rows)


def _expiry(root: Root) -> str:
    if root.expires_at is None:
        return "removed"
    return f"{root.expires_at}, expired" if root.expired else root.expires_at
