"""Pieces that this process runs already: a second graph that has them needs neither bytes nor a load."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from .load import LoadedPiece

LOADED_MAX = 4096


@dataclass(frozen=True)
class Loaded:
    """A piece's code, and the conditions on its symbols under which it is right."""

    call: LoadedPiece
    guards: tuple[str, ...]


class LoadedPieces:
    """The least recently used are forgotten past `LOADED_MAX`; the graphs that run them keep them alive."""

    def __init__(self) -> None:
        self._pieces: OrderedDict[str, Loaded] = OrderedDict()

    def get(self, key: str) -> Loaded | None:
        found = self._pieces.get(key)
        if found is not None:
            self._pieces.move_to_end(key)
        return found

    def put(self, key: str, piece: Loaded) -> None:
        self._pieces[key] = piece
        self._pieces.move_to_end(key)
        while len(self._pieces) > LOADED_MAX:
            self._pieces.popitem(last=False)
