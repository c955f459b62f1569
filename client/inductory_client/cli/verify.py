"""`inductory verify`: looks for damage in the local cache, or in a build at the store."""

from __future__ import annotations

import argparse

from msgspec import Struct

from inductory_client.cas import LocalCas
from inductory_client.contract.errors import BadSettings
from inductory_client.settings import Settings
from inductory_client.transport import HttpStore
from inductory_client.trust import Keyring

from .build_reading import BuildReading, Finding
from .exit_code import ExitCode
from .options import add_settings_options, settings_of
from .output import Output
from .store_access import find_build, open_store
from .table import bytes_text, count_text, table


class Verified(Struct, frozen=True):
    """What was looked at and what was found."""

    where: str
    blobs: int
    artifacts: int
    read_bytes: int
    findings: tuple[Finding, ...]
    repaired: int = 0
    at_store: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="BUILD",
        help="verify this build at the store instead: key, beginning of it, or model",
    )
    parser.add_argument("--repair", action="store_true", help="drop what is damaged in the local cache")
    parser.add_argument(
        "--deep", action="store_true", help="check digests in the local cache, not just checksums"
    )
    add_settings_options(parser, "url", "namespace", "cache_dir", "config_dir")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit 1 where anything was found, repaired or not."""
    settings = settings_of(arguments)
    if arguments.store is not None and (arguments.repair or arguments.deep):
        raise BadSettings(
            "--repair and --deep are for the local cache; a store's blobs are always read whole"
        )
    if arguments.store is None:
        verified = _verify_cache(settings, deep=arguments.deep, repair=arguments.repair, output=output)
    else:
        with open_store(settings) as store:
            verified = _verify_build(store, find_build(store, arguments.store), settings, output)
    output.result(verified, _text(verified))
    return ExitCode.FOUND if verified.findings else ExitCode.FINE


def _verify_cache(settings: Settings, *, deep: bool, repair: bool, output: Output) -> Verified:
    cas = LocalCas(settings.cache_dir, settings.cache_bytes_max)
    output.progress(f"reading {settings.cache_dir}")
    scan = cas.scan(deep=deep)
    if repair:
        for name in scan.damaged:
            cas.drop_blob(name)
            cas.drop_artifact(name)
    return Verified(
        where=str(settings.cache_dir),
        blobs=scan.blobs,
        artifacts=scan.artifacts,
        read_bytes=scan.read_bytes,
        findings=tuple(Finding(name, "damaged") for name in scan.damaged),
        repaired=len(scan.damaged) if repair else 0,
    )


def _verify_build(store: HttpStore, key: str, settings: Settings, output: Output) -> Verified:
    """Fetch everything that a build names, check every signature and digest, and keep nothing."""
    reading = BuildReading(store, Keyring.load(settings), output.progress)
    reading.read(key)
    return Verified(
        where=f"{store.url}, build {key}",
        blobs=len(reading.descriptors),
        artifacts=reading.artifacts,
        read_bytes=sum(each.size for each in reading.descriptors.values()),
        findings=tuple(reading.findings),
        at_store=True,
    )


def _text(verified: Verified) -> str:
    counts = f"{count_text(verified.blobs, 'blob')}, {count_text(verified.artifacts, 'artifact')}"
    head = f"{verified.where}: {counts}, {bytes_text(verified.read_bytes)}"
    if not verified.findings:
        return f"{head}; all whole."
    rows = table(("NAME", "FOUND"), ((finding.name, finding.what) for finding in verified.findings))
    return f"{head}\n\n{rows}\n\n{len(verified.findings)} found{_what_then(verified)}."


def _what_then(verified: Verified) -> str:
    if verified.at_store:
        return "; whoever runs the store, or published this, can mend it by publishing it again"
    if verified.repaired:
        return ", dropped; they are fetched or compiled again when needed"
    return ", left as they are; --repair drops them"
