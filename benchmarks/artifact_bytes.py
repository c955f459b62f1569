"""Whether two builders make the same bytes, and how many there are of them.

    python benchmarks/artifact_bytes.py [BUILDERS]  -->  build/bench/artifact_bytes.json

Each builder is a process with a hash seed, a home and cache folders of its own. Each compiles the model's
unique pieces from nothing. Sizes are sums over the pieces of the first builder; packed is zstd, level 3.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _harness import child, clean_environ, finish, progress
from inductory_client.contract.blob import pack

BUILDERS = 3
GOALS = {"equal_bytes": ("equals", True), "normalised_over_raw": ("at_most", 0.65)}
MEASURED = {
    "equal_bytes": "whether all builders made the same pieces, each with the same payload bytes",
    "normalised_over_raw": "payloads over torch's own AOTCompiledArtifact.serialize(), both packed",
    "natives_equal": "native files that are the same for all builders, as they are published (stripped)",
    "natives_equal_unstripped": "the same, as the C++ compiler left them",
    "unique_bytes_packed": "what travels for a load: unique payloads and stripped native files, packed",
}


def main() -> None:
    builders = int(sys.argv[1]) if len(sys.argv) > 1 else BUILDERS
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as folder:
        runs = [
            _build(Path(folder, f"builder{number}" * number), number, builders)
            for number in range(1, builders + 1)
        ]
        found = [_read(Path(folder, f"builder{number}" * number, "out")) for number in range(1, builders + 1)]
    finish("artifact_bytes", _figures(found), GOALS, measured=MEASURED, runs=runs)


def _build(home: Path, number: int, builders: int) -> dict[str, Any]:
    """Have builder `number` compile. Its folders' names have a length of their own, too."""
    result = child(
        "_compile_pieces", [str(home / "out")], clean_environ(home, PYTHONHASHSEED=str(number * 17))
    )
    progress(f"builder {number} of {builders} compiled for {result['compile_s']:.1f} s")
    return result


def _read(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _figures(found: Sequence[dict[str, bytes]]) -> dict[str, Any]:
    first = found[0]

    def named(end: str) -> list[str]:
        return [name for name in first if name.endswith(end)]

    def total(end: str, measure: Callable[[bytes], int] = len) -> int:
        return sum(measure(first[name]) for name in named(end))

    def packed(data: bytes) -> int:
        return len(pack(data))

    def equal(names: Sequence[str]) -> list[str]:
        return [name for name in names if all(other.get(name) == first[name] for other in found)]

    torchs, payloads = [name for name in named("/raw") if "/native/" not in name], named("/payload")
    same_pieces = all({n for n in other if n.endswith("/payload")} == set(payloads) for other in found)
    raw_packed, payload_packed = sum(packed(first[name]) for name in torchs), total("/payload", packed)
    natives, unstripped = named("/stripped"), [name for name in named("/raw") if "/native/" in name]
    loaded = {first[name] for name in payloads + natives}
    return {
        "equal_bytes": same_pieces and len(equal(payloads)) == len(payloads),
        "normalised_over_raw": round(payload_packed / raw_packed, 4),
        "pieces": len(payloads),
        "torch_bytes": sum(len(first[name]) for name in torchs),
        "torch_bytes_packed": raw_packed,
        "torch_pieces_equal": len(equal(torchs)),
        "payload_bytes": total("/payload"),
        "payload_bytes_packed": payload_packed,
        "natives": len(natives),
        "natives_equal": len(equal(natives)),
        "natives_equal_unstripped": len(equal(unstripped)),
        "native_bytes": sum(len(first[name]) for name in unstripped),
        "native_bytes_stripped": total("/stripped"),
        "native_bytes_packed": total("/stripped", packed),
        "unique_bytes_packed": sum(packed(data) for data in loaded),
        "builders": len(found),
    }


if __name__ == "__main__":
    main()
