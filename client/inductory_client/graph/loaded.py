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
    """By key, and by the index of the GPU that they run on, None without one.

    The least recently used are forgotten past `LOADED_MAX`; the graphs that run them keep them alive.
    """

    def __init__(self) -> None:
        self._pieces: OrderedDict[tuple[str, int | None], Loaded] = OrderedDict()

    def get(self, key: str, device: int | None) -> Loaded | None:
        found = self._pieces.get((key, device))
        if found is not None:
            self._pieces.move_to_end((key, device))
        return found

    def put(self, key: str, device: int | None, piece: Loaded) -> None:
        self._pieces[key, device] = piece
        self._pieces.move_to_end((key, device))
        while len(self._pieces) > LOADED_MAX:
            self._pieces.popitem(last=False)
