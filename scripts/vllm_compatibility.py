"""Which levels of vLLM's plugin work with which versions of vLLM, by what their sources say.

    python scripts/vllm_compatibility.py vllm-0.26.0.tar.gz vllm-0.33.0.tar.gz [--write docs/vllm.md]

Takes source distributions and wheels of vLLM, as a package index has them, or a folder that vLLM is installed
in. None of it is run. The plugin asks the same of the vLLM that it meets: where a function isn't there, or
takes other parameters than it did when it was read, its level is left to stock vLLM, with one warning. With
`--write` the table between the two marks in that file is replaced.
"""

from __future__ import annotations

import argparse
import re
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parents[1] / "client"))

from inductory_client.integrations.vllm.places import PLACES, moved_in_source
from inductory_client.settings import VLLM_LEVELS

BEGIN, END = "<!-- compatibility: begin -->", "<!-- compatibility: end -->"
RUN = {"0.26.0": "on a GPU", "0.32.0": "on a CPU, in CI"}
"""Versions that the plugin was really run with."""
UNREADABLE = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)
"""What archives raise that are none, or were cut off."""

_REQUIRED_TORCH = re.compile(r"^torch\s*==\s*([0-9.]+)", re.MULTILINE)
_METADATA_TORCH = re.compile(r"^Requires-Dist: torch\s*==\s*([0-9.]+)", re.MULTILINE)

Source = Callable[[str], bytes | None]
"""Gives the bytes of a file by its path in the archive, below the top folder."""


@dataclass(frozen=True)
class Row:
    version: str
    torch: str
    differing: dict[str, list[str]]
    """What keeps a level from being used, by level."""

    def __str__(self) -> str:
        levels = " | ".join("no" if self.differing[level] else "yes" for level in VLLM_LEVELS)
        return f"| {self.version} | {self.torch} | {levels} | {RUN.get(self.version, '')} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("archives", nargs="+", type=Path)
    parser.add_argument("--write", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    rows = []
    for path in chosen.archives:
        try:
            rows.append(read(path))
        except (*UNREADABLE, ValueError, SyntaxError) as error:
            _give_up(f"{path}: {error}")
    rows.sort(key=lambda row: _numbers(row.version), reverse=True)
    for row in rows:
        for level, differing in row.differing.items():
            for each in differing:
                print(f"{row.version} {level}: {each}", file=sys.stderr)
    if chosen.write is None:
        print(table(rows))
    else:
        try:
            before, _, rest = chosen.write.read_text().partition(BEGIN)
        except OSError as error:
            _give_up(str(error))
        _, found, after = rest.partition(END)
        if not found:
            _give_up(f"{chosen.write} has no {BEGIN} and {END} to write between")
        chosen.write.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}")


def table(rows: list[Row]) -> str:
    """Return the rows as a table in Markdown."""
    head = f"| vLLM | torch | {' | '.join(VLLM_LEVELS)} | run |"
    return "\n".join([head, "|" + "---|" * (len(VLLM_LEVELS) + 3), *map(str, rows)])


def read(path: Path) -> Row:
    """Return what one version's sources say.

    Raises OSError and what archives and sources raise that can't be read, and ValueError where there is no
    vLLM in it.
    """
    if path.is_dir():
        info = next(path.glob("vllm-*.dist-info"), None)
        if info is None:
            raise ValueError("no vLLM is installed in it")
        return _row(lambda name: _bytes(path / name), _bytes(info / "METADATA") or b"")
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names = set(wheel.namelist())
            metadata = next((name for name in names if name.endswith(".dist-info/METADATA")), None)
            if metadata is None:
                raise ValueError("it is no wheel")
            return _row(lambda name: wheel.read(name) if name in names else None, wheel.read(metadata))
    with tarfile.open(path) as archive:
        files = {member.name.partition("/")[2]: member for member in archive.getmembers() if member.isfile()}

        def source(name: str) -> bytes | None:
            member = files.get(name)
            opened = None if member is None else archive.extractfile(member)
            return None if opened is None else opened.read()

        return _row(source, source("PKG-INFO") or b"", source("requirements/cuda.txt") or b"")


def _row(source: Source, metadata: bytes, requirements: bytes = b"") -> Row:
    version = re.search(rb"^Version: (\S+)", metadata, re.MULTILINE)
    if version is None or source("vllm/__init__.py") is None:
        raise ValueError("there is no vLLM in it")
    torch = _REQUIRED_TORCH.search(requirements.decode()) or _METADATA_TORCH.search(metadata.decode())
    return Row(
        version[1].decode(),
        torch[1] if torch else "?",
        {level: moved_in_source(PLACES[level], source) for level in VLLM_LEVELS},
    )


def _give_up(reason: str) -> NoReturn:
    first_line = reason.partition("\n")[0]  # tarfile tells of every format that it tried
    print(f"{Path(__file__).name}: {first_line}", file=sys.stderr)
    sys.exit(2)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


if __name__ == "__main__":
    main()
