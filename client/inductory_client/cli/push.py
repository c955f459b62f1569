"""`inductory push`: publishes a vLLM cache folder, or what the local cache has and the store lacks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inductory_client.client import Client
from inductory_client.contract.errors import BadSettings
from inductory_client.integrations.vllm_folder.places import Places
from inductory_client.integrations.vllm_folder.reading import ReadFolder, read_folder
from inductory_client.publish import PublicationReport, kept_of_another

from .cache_push import CachePush, CachePushReport
from .exit_code import ExitCode
from .options import add_settings_options, settings_of
from .output import Output
from .table import bytes_text, count_text, facts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        help="a VLLM_CACHE_ROOT, its torch_compile_cache, or one hash folder below that;"
        " the local cache if left out",
    )
    parser.add_argument(
        "--vllm",
        action="store_true",
        help="publish what vLLM and Triton keep on this machine (VLLM_CACHE_ROOT, TRITON_CACHE_DIR)",
    )
    parser.add_argument("--model", metavar="NAME", help="what to call the model (INDUCTORY_MODEL)")
    add_settings_options(parser, "url", "namespace", "cache_dir", "config_dir")


def run(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.vllm and arguments.folder is not None:
        raise BadSettings("a FOLDER or --vllm, not both: --vllm finds the folders by itself")
    settings = settings_of(arguments, model=arguments.model, publish=True)
    client = Client(settings)
    try:
        client.reach_store()
        if arguments.vllm:
            own = Places.own()
            return _push_folder(client, own.vllm, own.triton, output)
        if arguments.folder is None:
            return _push_cache(client, output)
        return _push_folder(client, arguments.folder, None, output)
    finally:
        client.close()


def _push_folder(client: Client, folder: Path, triton: Path | None, output: Output) -> int:
    output.progress(f"reading {folder}")
    settings = client.settings
    sign = client.signing_key().sign
    found = read_folder(folder, namespace=settings.namespace, model=settings.model, sign=sign, triton=triton)
    reports = []
    for count, publication in enumerate(found.publications, 1):
        manifests = f"manifest {count} of {len(found.publications)}"

        def progress(done: int, total: int, manifests: str = manifests) -> None:
            output.progress(f"publishing {manifests}: {done} of {total}")

        reports.append(client.publisher.publish_now(publication, progress))
    value = _value(found, reports)
    output.result(value, _text(value))
    for name in found.without_model:
        output.note(
            f"inductory: torch_aot_compile/{name[:12]} holds no model; vLLM was stopped before it saved one,"
            " and a start from this build captures its graph anew"
        )
    return ExitCode.REFUSED if value["left"] else ExitCode.FINE


def _value(found: ReadFolder, reports: list[PublicationReport]) -> dict[str, Any]:
    return {
        "build": found.build.key,
        "model": found.build.model,
        "component": found.build.component,
        "manifests": [report.manifest for report in reports],
        "files": found.files,
        "file_bytes": found.file_bytes,
        "inside_model_files": found.inside_model_files,
        "without_model": found.without_model,
        "untrusted": sorted({signer for report in reports for signer in report.untrusted}),
        "blobs_sent": sum(report.blobs_sent for report in reports),
        "blob_bytes": sum(report.blob_bytes for report in reports),
        "artifacts": {
            outcome: sum(getattr(report, outcome) for report in reports)
            for outcome in ("created", "reproduced", "different")
        },
        "left": sorted({key for report in reports for key in report.left}),
    }


def _text(value: dict[str, Any]) -> str:
    outcomes = value["artifacts"]
    pairs = [
        ("build", value["build"]),
        ("model", value["model"]),
        ("manifests", len(value["manifests"])),
        ("files", f"{value['files']}, {bytes_text(value['file_bytes'])}"),
        ("sent", _sent(value["blobs_sent"], value["blob_bytes"])),
        ("artifacts", ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())),
    ]
    if value["inside_model_files"]:
        pairs.append(("inside the AOT model file", f"{value['inside_model_files']} parts"))
    text = facts(pairs)
    if outcomes["different"]:
        text += (
            "\n\nDifferent: the store has other bytes under the same key, and the first writer wins."
            "\nThe build keeps its own files all the same."
        )
    if value["left"]:
        keys = count_text(len(value["left"]), "artifact")
        text += (
            f"\n\n{keys} and the build stayed here: another process is compiling the same."
            "\nPush again in a minute: what it published by then is kept, and yours where it didn't."
        )
    return text


def _sent(blobs: int, size: int) -> str:
    return (
        f"{blobs} blobs, {bytes_text(size)} packed"
        if blobs
        else "nothing; the store has every blob (0 bytes)"
    )


def _warn_of(signers: Iterable[str], output: Output) -> None:
    for signer in signers:
        output.note(f"inductory: {kept_of_another(signer)}")


def _push_cache(client: Client, output: Output) -> int:
    report = CachePush(client.cas, client.reach_store(), client.keyring(), output.progress).run()
    output.result(report, _cache_text(report))
    _warn_of(report.untrusted, output)
    return ExitCode.REFUSED if report.refused else ExitCode.FINE


def _cache_text(report: CachePushReport) -> str:
    text = facts(
        [
            ("artifacts here", report.artifacts),
            ("the store had", report.known),
            ("sent", report.sent),
            ("blobs", _sent(report.blobs_sent, report.blob_bytes) if report.artifacts else "nothing is here"),
            ("manifests", report.manifests),
            ("builds", report.builds),
        ]
    )
    if report.incomplete:
        text += (
            f"\n\n{count_text(report.incomplete, 'name')} unknown to the store can't be sent, as what they"
            " name isn't whole here.\nThe next compile publishes them."
        )
    if report.other_namespaces:
        builds = count_text(report.other_namespaces, "build")
        text += f"\n\n{builds} of other namespaces stayed here; --namespace says which to push."
    if report.refused:
        text += "\n\nthe store refused:\n" + facts((each.name[:12], each.why) for each in report.refused)
    return text
