"""The seam through which a miss reaches the compiler: a node that only loads needs nothing of it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from inductory_client.contract.errors import CompilerAbsent
from inductory_client.publication import Draft

from .captured import Piece
from .load import LoadedPiece


class Compiled(Protocol):
    """A compiled piece: what runs now, and what is published."""

    @property
    def call(self) -> LoadedPiece: ...

    @property
    def guards(self) -> tuple[str, ...]: ...

    @property
    def seconds(self) -> float: ...

    @property
    def draft(self) -> Draft: ...


class CompilePieces(Protocol):
    def __call__(
        self,
        pieces: Mapping[str, Piece],
        target: Any,
        options: Mapping[str, Any],
        named_options: dict[str, str],
        device: int | None = None,
    ) -> dict[str, Compiled]: ...


def compiler() -> CompilePieces:
    """Return what compiles pieces by key. Raises CompilerAbsent."""
    try:
        found = importlib.import_module("inductory_compiler.pieces")
    except ImportError as error:
        raise CompilerAbsent from error
    return found.compile_pieces  # type: ignore[no-any-return]
