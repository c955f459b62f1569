"""The readable forms of a captured graph: vLLM's names for them, because people know where to look."""

from __future__ import annotations

from inductory_client.contract.descriptor import PYTHON
from inductory_client.contract.manifest import BLUEPRINT, DISPATCH
from inductory_client.contract.shape import shape_text
from inductory_client.publication import DraftBlob

from .captured import CapturedGraph


def blueprint(captured: CapturedGraph) -> str:
    """Return `computation_graph.py`: the split graph and each of its parts, as Python that can be read."""
    outer = captured.split.outer
    return "from __future__ import annotations\nimport torch\n" + str(
        outer.print_readable(print_output=False)
    )


def dispatch(captured: CapturedGraph) -> str:
    """Return `transformed_code.py`: the entry that hands weights and activations from part to part."""
    keys = {piece.part.name: piece for piece in captured.pieces}
    lines = ["# The parts that this entry calls, in order: what each is, and the key of its code.", "#"]
    for part in captured.split.parts:
        piece = keys.get(part.name)
        what = (
            f"{shape_text(piece.shape)} {piece.key}" if piece is not None else "attention, not compiled here"
        )
        lines.append(f"#   {part.index:>4} {part.name}: {what}")
    return "\n".join(lines) + "\n" + str(captured.split.outer.code).strip() + "\n"


def documents(captured: CapturedGraph) -> tuple[DraftBlob, ...]:
    """Return what a manifest keeps to be read."""
    return (
        DraftBlob(PYTHON, BLUEPRINT, blueprint(captured).encode()),
        DraftBlob(PYTHON, DISPATCH, dispatch(captured).encode()),
    )
