"""One model on its way into a process, and how its files change between this node and others."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from inductory_client.contract.shape import Shape
from inductory_client.foreign import Files, ForeignCache
from inductory_client.integrations.vllm_folder.normal_form import normal_form, placed

from .device_index import on_gpu

TRAVELS_FOR = 0
"""Index of the GPU for which files travel."""


@dataclass
class ModelStart:
    """One model on its way into a process."""

    cache: ForeignCache
    key: str
    """vLLM's: the hash of what it knows before a capture, and the rank."""
    kin: str
    options: dict[str, str]
    label: str
    root: str
    """The `torch_compile_cache` folder here."""
    gpu: int
    """Index of the GPU that it runs on."""
    missed: str = ""
    """Why it didn't come from the store."""
    unpublished: bool = False
    """Whether that is because nobody has published it."""
    restored: Files | None = None
    """What came from the store, while vLLM loads it."""
    folders: dict[str, Path] = field(default_factory=dict)
    """Where the parts of this model lie that vLLM compiled into files, by prefix."""
    keys: dict[str, dict[tuple[Shape, int], str]] = field(default_factory=dict)
    """torch's keys of this model's submodules, by prefix, compile range and index."""
    lists: list[Path] = field(default_factory=list)
    """The parts lists that were restored."""
    pieces: list[bytes] = field(default_factory=list)
    """The pieces inside of the AOT file that was written last."""
    compile_seconds: float | None = None
    tuned: dict[str, str] = field(default_factory=dict)
    """Where the setting that won for a kernel lies on GPU 0, and where on this one, if that differs."""
    settings: Files = field(default_factory=dict)
    """Settings that won elsewhere, which lie where torch looks for them before it loads the model."""
    asked: threading.Event = field(default_factory=threading.Event)
    """Set once it is known whether there are any."""

    def travelling(self, name: str, data: bytes) -> bytes:
        """Return a file of this node as it travels. Raises Malformed and Unsupported where that can't be."""
        return on_gpu(normal_form(name, data), self.gpu, TRAVELS_FOR)

    def here(self, name: str, data: bytes) -> bytes:
        """Return a file that travelled as it is here. Raises as `travelling` does."""
        return placed(name, on_gpu(data, TRAVELS_FOR, self.gpu, self.tuned), self.root)
