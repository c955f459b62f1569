"""The target of vLLM's code, as far as vLLM says: the factors behind the name of the hash folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import reduce
from typing import Any

from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Malformed
from inductory_client.contract.target import Target

from .tree import PartFolder

FACTORS_NAME = "cache_key_factors.json"

_HASHES = ("code_hash", "compiler_hash", "config_hash")


def target_of(folder: PartFolder, factors_json: bytes | None) -> Target:
    """Return the target of a part folder: its hash and rank, and the factors that vLLM kept beside it.

    vLLM's environment factors are over a hundred, so they are one factor, their digest. Raises Malformed.
    """
    factors = {"vllm.hash": folder.hash, "vllm.rank": folder.rank}
    if factors_json is not None:
        kept = _read(folder, factors_json)
        factors |= {f"vllm.{name}": str(kept[name])[:4000] for name in _HASHES if name in kept}
        if "env" in kept:
            text = json.dumps(kept["env"], sort_keys=True, ensure_ascii=False)
            factors["vllm.env"] = digest_of(text.encode())
    return Target(factors)


def common_target(targets: Iterable[Target]) -> Target:
    """Return the factors that all of the targets share: what a build of several ranks is for."""
    shared = reduce(lambda a, b: a & b, (set(target.factors.items()) for target in targets))
    return Target(dict(sorted(shared)))


def sources_digest(targets: Iterable[Target]) -> str:
    """Return the digest that stands for the traced sources: of vLLM's code hashes."""
    return digest_of_json(sorted({target.factors.get("vllm.code_hash", "") for target in targets}))


def _read(folder: PartFolder, factors_json: bytes) -> dict[str, Any]:
    try:
        kept = json.loads(factors_json)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{folder.path}/{FACTORS_NAME} isn't JSON: {error}") from error
    if not isinstance(kept, dict):
        raise Malformed(f"{folder.path}/{FACTORS_NAME} isn't a JSON object")
    return kept
