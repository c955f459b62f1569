"""`inductory lookup`: the REST lookup, from a shell."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import islice

from inductory_client.contract.digest import is_digest
from inductory_client.contract.errors import BadSettings, Malformed
from inductory_client.contract.shape import parse_shape, shape_text
from inductory_client.contract.wire import PAGE_MAX, BuildSummary, LookupEntry
from inductory_client.transport import HttpStore

from .artifact_text import agreed_text, agreement_text, artifact_text
from .exit_code import ExitCode
from .options import add_settings_options, settings_of
from .output import Output
from .store_access import all_builds, open_store
from .table import bytes_text, seconds_text, table

_FILTERS = {
    "shape": ("SHAPE", "any, 8, 1-16384 or 2-"),
    "submodule_index": ("N", "its place among the submodules"),
    "backend": ("NAME", "the compiler that made it: inductor, inductor_standalone"),
    "model": ("NAME", "what the build's model is called"),
    "target": ("DIGEST", "fingerprint of the target"),
    "digest": ("DIGEST", "of a blob that it loads"),
    "build": ("KEY", "of a build that uses it"),
    "manifest": ("ID", "of a manifest that uses it"),
    "scheme": ("NAME", "who made the key: inductory, vllm"),
}

_DIGESTS = {"target", "digest", "build", "manifest"}
INDEX_MAX = 1_000_000
"""As in a manifest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, (metavar, summary) in _FILTERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=summary)
    parser.add_argument(
        "artifact", metavar="KEY", nargs="?", help="of one artifact: what it is, and whether builders agreed"
    )
    parser.add_argument(
        "--disagreed", action="store_true", help="list only artifacts that builders made differently"
    )
    parser.add_argument("--builds", action="store_true", help="list builds, and not artifacts")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="most rows to list (100)")
    add_settings_options(parser, "url", "namespace")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit 1 where nothing fits."""
    filters = {name: value for name in _FILTERS if (value := getattr(arguments, name)) is not None}
    _check(filters, arguments.limit)
    if arguments.artifact is not None:
        if filters or arguments.builds or arguments.disagreed:
            raise BadSettings("a key is of one artifact; leave the filters out")
        return _show_artifact(arguments, output)
    if arguments.disagreed:
        filters["disagreed"] = "true"
    if arguments.builds:
        return _list_builds(filters, arguments, output)
    with open_store(settings_of(arguments)) as store:
        entries, more = _collect(store, filters, arguments.limit, output)
    output.result({"entries": entries, "more": more}, _text(entries) if entries else "nothing fits")
    if more:
        output.note(f"there are more than these {len(entries)}; --limit lists more of them")
    return ExitCode.FINE if entries else ExitCode.FOUND


def _show_artifact(arguments: argparse.Namespace, output: Output) -> int:
    if not is_digest(arguments.artifact):
        raise BadSettings("the key of an artifact has 64 lower-case hex digits")
    with open_store(settings_of(arguments)) as store:
        artifact = store.get_artifact(arguments.artifact)
        agreement = store.get_agreement(arguments.artifact)
    text = f"{artifact_text(artifact)}\n\n{agreement_text(agreement)}"
    output.result({"artifact": artifact, "agreement": agreement}, text)
    return ExitCode.FINE


def _list_builds(filters: Mapping[str, str], arguments: argparse.Namespace, output: Output) -> int:
    """Of the filters, builds have a model and a target."""
    if filters.keys() - {"model", "target"}:
        raise BadSettings("with --builds, only --model and --target filter")
    with open_store(settings_of(arguments)) as store:
        fitting = (
            build
            for build in all_builds(store)
            if all(getattr(build, name) == value for name, value in filters.items())
        )
        builds = list(islice(fitting, arguments.limit + 1))
    more = len(builds) > arguments.limit
    builds = builds[: arguments.limit]
    output.result({"builds": builds, "more": more}, _builds_text(builds) if builds else "nothing fits")
    if more:
        output.note(f"there are more than these {len(builds)}; --limit lists more of them")
    return ExitCode.FINE if builds else ExitCode.FOUND


def _builds_text(builds: list[BuildSummary]) -> str:
    headings = ("BUILD", "MODEL", "COMPONENT", "TARGET", "GRAPHS", "PIECES", "DISPATCHES", "CREATED")
    rows = (
        (
            build.key[:12],
            build.model or None,
            build.component or None,
            build.target[:12],
            build.graphs,
            build.artifacts,
            build.dispatches,
            build.created_at,
        )
        for build in builds
    )
    return table(headings, rows, right=("GRAPHS", "PIECES", "DISPATCHES"))


def _check(filters: Mapping[str, str], limit: int) -> None:
    try:
        parse_shape(filters.get("shape", "any"))
    except Malformed as error:
        raise BadSettings(f"--shape: {error.message}") from error
    index = filters.get("submodule_index", "0")
    if not index.isdecimal() or len(index) > 7 or int(index) > INDEX_MAX:
        raise BadSettings(f"--submodule-index is a number up to {INDEX_MAX}")
    for name in _DIGESTS & filters.keys():
        if not is_digest(filters[name]):
            raise BadSettings(f"--{name} has 64 lower-case hex digits")
    if limit < 1:
        raise BadSettings("--limit is 1 or more")


def _collect(
    store: HttpStore, filters: Mapping[str, str], limit: int, output: Output
) -> tuple[list[LookupEntry], bool]:
    """Return at most `limit` rows, and whether there are more."""
    entries: list[LookupEntry] = []
    cursor = None
    while True:
        page_size = min(PAGE_MAX, limit - len(entries))
        page = store.lookup({**filters, "limit": str(page_size)}, cursor)
        entries += page.entries
        output.progress(f"{len(entries)} rows")
        cursor = page.next
        if cursor is None or len(entries) >= limit:
            return entries[:limit], cursor is not None or len(entries) > limit


def _text(entries: list[LookupEntry]) -> str:
    of_use = ("ARTIFACT", "SHAPE", "INDEX", "BACKEND", "MODEL", "BUILD")
    headings = (*of_use, "DIGEST", "SIZE", "AGREED", "COMPILED IN")
    rows = (
        (
            entry.artifact[:12],
            shape_text(entry.shape),
            entry.submodule_index,
            entry.backend,
            entry.model,
            entry.build and entry.build[:12],
            entry.digest[:12],
            bytes_text(entry.size),
            agreed_text(entry.reproduced, entry.different),
            None if entry.compile_seconds is None else seconds_text(entry.compile_seconds),
        )
        for entry in entries
    )
    return table(headings, rows, right=("INDEX", "SIZE", "AGREED", "COMPILED IN"))
