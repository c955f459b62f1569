"""Where vLLM and Triton keep their caches on this machine, as they find it out themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .tree import CACHE_NAME
from .triton_cache import TRITON_NAME

MODEL_INFOS_NAME = "modelinfos"


@dataclass(frozen=True)
class Places:
    """The folders that a build's files are in."""

    vllm: Path
    """VLLM_CACHE_ROOT."""
    triton: Path
    """TRITON_CACHE_DIR."""

    @property
    def compiled(self) -> Path:
        """What vLLM compiled."""
        return self.vllm / CACHE_NAME

    @classmethod
    def own(cls, environ: Mapping[str, str] = os.environ) -> Places:
        """Return what the programs themselves use under `environ`."""
        home = os.path.expanduser("~")
        caches = environ.get("XDG_CACHE_HOME", os.path.join(home, ".cache"))
        vllm = os.path.expanduser(environ.get("VLLM_CACHE_ROOT", os.path.join(caches, "vllm")))
        triton_home = environ.get("TRITON_HOME", home)
        triton = environ.get("TRITON_CACHE_DIR", os.path.join(triton_home, ".triton", "cache"))
        return cls(Path(os.path.abspath(vllm)), Path(os.path.abspath(triton)))

    @classmethod
    def below(cls, folder: Path) -> Places:
        """Return the places below a VLLM_CACHE_ROOT, or around a torch_compile_cache, Triton's too."""
        absolute = Path(os.path.abspath(folder))
        root = absolute.parent if absolute.name == CACHE_NAME else absolute
        return cls(root, root / TRITON_NAME)

    def of(self, name: str) -> tuple[Path, str]:
        """Return the folder that a build's file is below, and its path from there on: no link is in that.

        All lies in `torch_compile_cache` but for the model infos and Triton's kernels.
        """
        first, _, rest = name.partition("/")
        if first == MODEL_INFOS_NAME:
            return self.vllm, name
        if first != TRITON_NAME:
            return self.vllm, f"{CACHE_NAME}/{name}"
        if self.triton.is_relative_to(self.vllm):
            return self.vllm, f"{self.triton.relative_to(self.vllm)}/{rest}"
        return self.triton, rest
