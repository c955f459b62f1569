"""`inductory pull`: a build into the local cache, or one that came from vLLM into vLLM's folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from inductory_client.client import Client
from inductory_client.contract.descriptor import Descriptor
from inductory_client.contract.errors import BadSettings
from inductory_client.contract.wire import Build, Manifest
from inductory_client.integrations.vllm_folder.export import export_folder
from inductory_client.integrations.vllm_folder.file_list import VLLM_SCHEME, check_file_list
from inductory_client.pull import PullReport

from .exit_code import ExitCode
from .options import add_settings_options, settings_of
from .output import Output
from .store_access import blob_deadline, find_build
from .table import bytes_text, count_text, facts, seconds_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "build",
        metavar="BUILD",
        nargs="?",
        help="key of a build, the beginning of one, or what its model is called (INDUCTORY_BUILD)",
    )
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="for a build from vLLM: the VLLM_CACHE_ROOT to write below"
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
        key = find_build(store, name)
        output.progress(f"asking for build {key[:12]}")
        manifests = [store.get_manifest(each) for each in _manifests_of(store.get_build(key))]
        if any(manifest.scheme == VLLM_SCHEME for manifest in manifests):
            return _export(client, key, manifests, arguments, output)
        if arguments.to is not None:
            raise BadSettings("--to is for builds that came from vLLM; this one goes to the local cache")
        return _pull(client, key, output)
    finally:
        client.close()


def _manifests_of(build: Build) -> list[str]:
    return list(dict.fromkeys(entry.manifest for entry in build.entries))


def _export(
    client: Client, key: str, manifests: list[Manifest], arguments: argparse.Namespace, output: Output
) -> int:
    """Write vLLM's folder. Everything that is written is in a list that a trusted key signed."""
    if arguments.to is None:
        raise BadSettings("this build came from vLLM; say where its cache goes with --to FOLDER")
    store = client.reach_store()

    def get_blob(descriptor: Descriptor) -> bytes:
        here = client.cas.get(descriptor.digest)
        if here is not None:
            return here
        return store.get_blob(descriptor.digest, descriptor.size, blob_deadline(descriptor.size))

    keyring = client.keyring()
    for manifest in manifests:
        check_file_list(manifest, get_blob, keyring)
    done = export_folder(manifests, arguments.to, get_blob, force=arguments.force, progress=output.progress)
    value = {
        "build": key,
        "folder": str(done.root),
        "written": done.written,
        "unchanged": done.unchanged,
        "bytes_written": done.bytes_written,
        "relocated": done.parts_lists,
    }
    text = facts(
        [
            ("build", key),
            ("folder", done.root),
            ("written", f"{count_text(done.written, 'file')}, {bytes_text(done.bytes_written)}"),
            ("there already", count_text(done.unchanged, "file")),
            ("relocated", count_text(done.parts_lists, "parts list")),
        ]
    )
    output.result(value, f"{text}\n\nvLLM finds it with VLLM_CACHE_ROOT={done.root.parent}")
    return ExitCode.FINE


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
