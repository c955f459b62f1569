"""Small vLLM cache folders, laid out as vLLM does, for tests."""

from __future__ import annotations

import pprint
from pathlib import Path

from inductory_client.contract.manifest import BLUEPRINT, PARTS_LIST

HASH = "41c58af59d"


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def make_cache(root: Path, *, hashes: tuple[str, ...] = (HASH,), ranks: int = 1, salt: str = "") -> Path:
    """Write a VLLM_CACHE_ROOT of two parts a rank, as vLLM lays it out."""
    cache = root / "torch_compile_cache"
    for name in hashes:
        for rank in range(ranks):
            folder = cache / name / f"rank_{rank}_0" / "backbone"
            parts = {}
            for index in range(2):
                part = f"artifact_compile_range_1_16384_subgraph_{index}"
                write(folder / part, f"code {index}{salt}")
                parts[((1, 16384), index, "inductor_standalone")] = {
                    "graph_handle": (part, f"/old/torch_compile_cache/{name}/rank_{rank}_0/backbone/{part}"),
                    "cache_key": f"a{index}",
                }
            write(folder / PARTS_LIST, pprint.pformat(parts))
            write(folder / BLUEPRINT, "class submod_0: ...\nclass submod_1: ...\nself.submod_0(submod_10)\n")
            write(
                folder / "cache_key_factors.json", '{"code_hash": "c", "config_hash": "f", "env": {"A": 1}}'
            )
    write(cache / "torch_aot_compile" / ("ab" * 32) / "rank_0_0" / "model", b"\x80\x04not for us to unpickle")
    write(root / "modelinfos" / "x.json", "{}")
    return root
