"""Compiles the model's unique pieces and writes what came out: `python benchmarks/_compile_pieces.py FOLDER`.

FOLDER/<artifact key>/{raw,payload}, FOLDER/<artifact key>/native/<name>/{raw,stripped}
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _model
import torch.fx
from inductory_client.graph.captured import Piece, capture
from inductory_compiler.compile_piece import compile_form
from inductory_compiler.native_files import strip
from inductory_compiler.normalise import normalise


def main() -> None:
    folder = Path(sys.argv[1])
    unique: dict[str, Piece] = {}

    def backend(module: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        unique.update(capture(module, inputs).unique)
        return module.forward

    _model.start(backend)
    began = time.perf_counter()
    for key, piece in unique.items():
        compiled = compile_form(piece.canonical.form)
        _write(folder / key / "raw", compiled.call.serialize())  # type: ignore[attr-defined]
        _write(folder / key / "payload", normalise(compiled.entry))
        for name, data in compiled.natives.items():
            _write(folder / key / "native" / name / "raw", data)
            _write(folder / key / "native" / name / "stripped", strip(data))
    seconds = time.perf_counter() - began
    print(json.dumps({"compile_s": round(seconds, 2), "hash_seed": os.environ["PYTHONHASHSEED"]}))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main()
