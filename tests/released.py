"""The code of a released version, as it was, to be run beside today's."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

VERSION, COMMIT = "v0.1.0", "cc3e71deaab1b5c9327fc51dafa65be931206165"
"""The last release. A copy without tags may still have the commit."""

FOLDERS = ("client", "store", "migrations")


def unpack_release(folder: Path) -> dict[str, str]:
    """Put the release's code into `folder`, and return the environment in which Python imports it.

    Raises LookupError where this copy of the repository has neither the tag nor the commit.
    """
    for name in (VERSION, COMMIT, *_by_message()):
        archive = subprocess.run(
            ["git", "archive", "--format=tar", name, *FOLDERS], cwd=ROOT, capture_output=True, check=False
        )
        if archive.returncode == 0:
            with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
                files.extractall(folder, filter="data")
            # What an installed release would say of itself: today's is installed here.
            about = folder / "client" / f"inductory-{VERSION.removeprefix('v')}.dist-info"
            about.mkdir()
            (about / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: inductory\nVersion: {VERSION.removeprefix('v')}\n"
            )
            paths = [str(folder / name) for name in ("client", "store")]
            return {"PYTHONPATH": os.pathsep.join(paths)}
    raise LookupError(f"{VERSION} isn't here; fetch it: git fetch --depth 1 origin tag {VERSION}")


def is_cut_off() -> bool:
    """Whether this copy has a part of the history only, and no way to have the release."""
    found = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() != "false"


def _by_message() -> list[str]:
    """Return the release's commit in a history that was written anew."""
    message = f"^Release {VERSION.removeprefix('v')}:"
    found = subprocess.run(
        ["git", "log", "--format=%H", f"--grep={message}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.split()
