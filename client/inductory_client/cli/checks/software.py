"""Is what Inductory works with installed, and of a version it knows? Metadata says; nothing is imported."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata

from inductory_client.version import __version__

from .check import Check

TORCH_OLDEST = (2, 11)
PYTHON_OLDEST = (3, 11)
ENTRY_GROUP, ENTRY_NAME = "torch_dynamo_backends", "inductory"


def check_software() -> Iterator[Check]:
    """Look at Python, torch, Triton, the entry point and the C++ compiler."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("inductory", "ok", f"Version {__version__} on Python {python}.")
    yield _torch()
    yield _triton()
    yield _entry_point()
    yield _compiler()


def version_of(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def is_supported(version: str) -> bool:
    """Whether this is a torch we support. Nightlies (2.15.0.dev...) count as what they lead to."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= TORCH_OLDEST


def _torch() -> Check:
    version = version_of("torch")
    oldest = ".".join(map(str, TORCH_OLDEST))
    if version is None:
        return Check(
            "torch", "warn", "torch isn't installed: this machine can manage builds, not run models."
        )
    if not is_supported(version):
        return Check(
            "torch", "fail", f"torch {version} is older than {oldest}.", f"pip install 'torch>={oldest}'"
        )
    return Check("torch", "ok", f"torch {version}.")


def _triton() -> Check:
    version = version_of("triton") or version_of("pytorch-triton")
    if version is not None:
        return Check("triton", "ok", f"Triton {version}.")
    return Check("triton", "ok", "Triton isn't installed; only GPUs need it.")


def _entry_point() -> Check:
    found = metadata.entry_points(group=ENTRY_GROUP, name=ENTRY_NAME)
    if found:
        return Check("backend", "ok", 'torch.compile(model, backend="inductory") finds us.')
    return Check(
        "backend",
        "fail",
        "torch.compile(model, backend=\"inductory\") wouldn't find us: the entry point isn't registered.",
        "Install the package (pip install inductory); a source folder on PYTHONPATH isn't enough.",
    )


def _compiler() -> Check:
    """A hit needs no compiler; a miss on CPU does, and takes the one that Inductor would."""
    name = os.environ.get("CXX", "g++")
    path = shutil.which(name)
    if path is None:
        what = f"There is no {name}; a miss on CPU can't be compiled. Hits and GPUs don't need it."
        return Check("C++ compiler", "warn", what, "apt install g++, or set CXX.")
    return Check("C++ compiler", "ok", f"{path} compiles what a CPU misses.")
