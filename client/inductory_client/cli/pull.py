"""`inductory pull`: a build into the local cache, or one that came from vLLM into vLLM's folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from inductory_client.client import Client
from inductory_client.contract.errors import BadSettings
from inductory_client.contract.wire import Build, Manifest
from inductory_client.integrations.vllm_folder.export import Exported, export_folder
from inductory_client.integrations.vllm_folder.file_list import VLLM_SCHEME, check_file_list
from inductory_client.integrations.vllm_folder.places import Places
from inductory_client.pull import PullReport

from .build_blobs import BuildBlobs
from .exit_code import ExitCode
from .options import add_settings_options, settings_of
from .output import Output
from .store_access import find_build
from .table import bytes_text, count_text, facts, seconds_text

_NAMED_MAX = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "build",
        metavar="BUILD",
        nargs="?",
        help="key of a build, the beginning of one, or what its model is called (INDUCTORY_BUILD)",
    )
    to = parser.add_mutually_exclusive_group()
    to.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="for a build from vLLM: the VLLM_CACHE_ROOT to write below, Triton's kernels included",
    )
    to.add_argument(
        "--vllm",
        action="store_true",
        help="for a build from vLLM: write where vLLM and Triton look (VLLM_CACHE_ROOT, TRITON_CACHE_DIR)",
    )
    parser.add_argument("--force", action="store_true", help="replace other files that are in the way")
    add_settings_options(parser, "url", "namespace", "cache_dir", "config_dir")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit 4 where artifacts were refused."""
    settings = settings_of(arguments)
    client = Client(settings)
    try:
        name = arguments.build or client.build_of(settings)
        if name is None:
            raise BadSettings("which build? `inductory pull BUILD`; `inductory lookup --builds` lists them")
        store = client.reach_store()
        places = _places(arguments)
        key = find_build(store, name, newest=places is not None)
        output.progress(f"asking for build {key[:12]}")
        manifests = [store.get_manifest(each) for each in _manifests_of(store.get_build(key))]
        if any(manifest.scheme == VLLM_SCHEME for manifest in manifests):
            return _export(client, key, manifests, places, arguments.force, output)
        if places is not None:
            raise BadSettings(
                "--to and --vllm are for builds that came from vLLM; this one goes to the local cache"
            )
        return _pull(client, key, output)
    finally:
        client.close()


def _manifests_of(build: Build) -> list[str]:
    return list(dict.fromkeys(entry.manifest for entry in build.entries))


def _places(arguments: argparse.Namespace) -> Places | None:
    """Return where a build from vLLM is to be written; None where nothing was said."""
    if arguments.vllm:
        return Places.own()
    return None if arguments.to is None else Places.below(arguments.to)


def _export(
    client: Client, key: str, manifests: list[Manifest], places: Places | None, force: bool, output: Output
) -> int:
    """Write vLLM's folder. Everything that is written is in a list that a trusted key signed."""
    if places is None:
        raise BadSettings(
            "this build came from vLLM; say where it goes: --vllm for where vLLM looks, or --to FOLDER"
        )
    blobs = BuildBlobs(key, client.reach_store(), client.cas, output.progress)
    keyring = client.keyring()
    for manifest in manifests:
        check_file_list(manifest, blobs.get, keyring)
    done = export_folder(
        manifests, places, blobs.get, force=force, progress=output.progress, expect=blobs.expect
    )
    value = {
        "build": key,
        "folder": str(places.compiled),
        "triton": str(places.triton),
        "written": done.written,
        "unchanged": done.unchanged,
        "kept": done.kept,
        "bytes_written": done.bytes_written,
        "bytes_moved": blobs.bytes_moved,
        "relocated": done.relocated,
    }
    output.result(value, _exported_text(key, places, done, blobs.bytes_moved))
    return ExitCode.FINE


def _exported_text(key: str, places: Places, done: Exported, bytes_moved: int) -> str:
    text = facts(
        [
            ("build", key),
            ("folder", places.compiled),
            ("Triton's folder", places.triton),
            ("written", f"{count_text(done.written, 'file')}, {bytes_text(done.bytes_written)}"),
            ("moved", f"{bytes_text(bytes_moved)} packed"),
            ("there already", count_text(done.unchanged, "file")),
            ("relocated", count_text(done.relocated, "file")),
        ]
    )
    if done.kept:
        text += (
            f"\n\n{count_text(len(done.kept), 'file')} stayed as they were, other than in the build; --force"
            f" replaces them:\n  " + "\n  ".join(done.kept[:_NAMED_MAX])
        )
        if len(done.kept) > _NAMED_MAX:
            text += f"\n  and {len(done.kept) - _NAMED_MAX} more"
    return f"{text}\n\nThey are found with VLLM_CACHE_ROOT={places.vllm} and TRITON_CACHE_DIR={places.triton}"


def _blobs(report: PullReport) -> str:
    if not report.blobs:
        return "none" if report.refused else "none; the build loads nothing"
    sizes = f"{bytes_text(report.bytes_raw)}, {bytes_text(report.bytes_moved)} packed"
    return f"{report.blobs}, {sizes}"


def _pull(client: Client, key: str, output: Output) -> int:
    report = client.pull_build(key)
    refused = {name: error.message for name, error in report.refused.items()}
    value = {
        "build": key,
        "manifests": len(report.manifests),
        "artifacts": report.artifacts,
        "refused": refused,
        "blobs": report.blobs,
        "bytes_raw": report.bytes_raw,
        "bytes_moved": report.bytes_moved,
        "seconds": report.seconds,
    }
    text = facts(
        [
            ("build", key),
            ("manifests", len(report.manifests)),
            ("artifacts", report.artifacts),
            ("blobs", _blobs(report)),
            ("took", seconds_text(report.seconds)),
            ("cache", client.settings.cache_dir),
        ]
    )
    if refused:
        text += "\n\nrefused:\n" + facts((name[:12], why) for name, why in refused.items())
    output.result(value, text)
    return ExitCode.REFUSED if refused else ExitCode.FINE
