"""Compiling the pieces of a graph that nobody has: the compiler's side of the client's one seam."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from inductory_client.contract.canonical_json import canonical_json
from inductory_client.contract.descriptor import GRAPH, NATIVE, PAYLOAD, PYTHON
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.target import Target
from inductory_client.graph import torch_private
from inductory_client.graph.captured import Piece
from inductory_client.graph.load import LoadedPiece
from inductory_client.publication import Draft, DraftBlob
from inductory_client.trouble import log
from inductory_client.version import __version__

from .compile_piece import CompiledPiece, compile_form
from .native_files import strip
from .normalise import normalise

SOURCE = "output_code.py"
"""Name of the readable generated code among an artifact's blobs."""


@dataclass(frozen=True)
class Result:
    """A piece that runs, and the artifact that it becomes."""

    call: LoadedPiece
    guards: tuple[str, ...]
    seconds: float
    draft: Draft


def compile_pieces(
    pieces: Mapping[str, Piece],
    target: Target,
    options: Mapping[str, Any],
    named_options: dict[str, str],
    device: int | None = None,
) -> dict[str, Result]:
    """Compile each of `pieces`, by key, for the GPU of index `device`, if for one. Raises Unsupported, and
    whatever Inductor raises.
    """
    found: dict[str, Result] = {}
    for place, (key, piece) in enumerate(pieces.items(), 1):
        log.info("compiling piece %d of %d", place, len(pieces))
        compiled = compile_form(piece.canonical.form, dict(options), device)
        log.info("compiled piece %d of %d in %.1f s: %s", place, len(pieces), compiled.seconds, key)
        requires = {} if device is None else torch_private.gpu_requirements()
        draft = _draft(piece, compiled, target, named_options, requires)
        found[key] = Result(compiled.call, compiled.guards, compiled.seconds, draft)
    return found


def _draft(
    piece: Piece,
    compiled: CompiledPiece,
    target: Target,
    named_options: dict[str, str],
    requires: dict[str, str],
) -> Draft:
    """Normalise now, in the compiling thread: later on, the entry may share state with what is running."""
    natives = {name: strip(data) for name, data in compiled.natives.items()} | compiled.kernels
    return Draft(
        blobs=(
            DraftBlob(PAYLOAD, "", normalise(compiled.entry)),
            *(DraftBlob(NATIVE, name, data) for name, data in sorted(natives.items())),
            DraftBlob(PYTHON, SOURCE, compiled.source.encode()),
            DraftBlob(GRAPH, "graph.json", canonical_json(piece.canonical.form)),
        ),
        shape=piece.shape,
        graph_digest=piece.canonical.digest,
        options=named_options,
        target=target,
        guards=compiled.guards,
        requires=requires,
        provenance=Provenance(
            builder="torch.compile",
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            compile_seconds=round(compiled.seconds, 3),
            versions={
                "inductory": __version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
            },
        ),
    )
