"""What decides a model's code in vLLM: the target, and what vLLM put into its own key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from inductory_client.contract.canonical_json import digest_of_json
from inductory_client.contract.target import Target
from inductory_client.graph.factors import current_target

from .places import environment, version

OPTIONS_MAX = 200
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
"""Variables whose values stay on the machine."""
TEXT_CHARS_MAX = 4000
_NOT_THE_MODEL = frozenset({"_name_or_path", "transformers_version"})


def target_of(vllm_config: Any) -> Target:
    """Return the target of an engine's process. Raises Unsupported.

    vLLM's key of a model doesn't hold the machine and its software. A GPU's index is in neither: code is
    moved from one to another.
    """
    device = torch.device(vllm_config.device_config.device)
    return Target(current_target({device}).factors | {"vllm.version": version()})


def gpu_of(vllm_config: Any) -> int:
    """Return the index of this process's GPU, which stands in its code; 0 where it has none."""
    on_gpu = torch.device(vllm_config.device_config.device).type == "cuda"
    return torch.cuda.current_device() if on_gpu else 0


def key_of(vllm_config: Any, path: Path) -> str:
    """Return the key of the model whose AOT file lies at `path`: vLLM's hash, and the rank.

    vLLM counts data-parallel ranks in the name also where each is an engine of its own, which knows nothing
    of the others and runs the same code: then it says that there is one rank.
    """
    digest, rank = path.parts[-3:-1]
    if vllm_config.parallel_config.data_parallel_size == 1:
        rank = f"{rank.rpartition('_')[0]}_0"
    return f"{digest}/{rank}"


def keys_of_others(key: str, ranks: Iterable[int]) -> tuple[str, ...]:
    """Return what `key_of` returns in the processes of those of an engine's `ranks` that haven't this `key`.

    Stages of a pipeline aside, vLLM's hash is the same on all ranks.
    """
    digest, _, place = key.rpartition("/rank_")
    _, _, data_rank = place.partition("_")
    return tuple(each for rank in ranks if (each := f"{digest}/rank_{rank}_{data_rank}") != key)


def modelinfo_target() -> Target:
    """Return the target of what vLLM knows of model classes: no code, and the same on every machine."""
    return Target({"vllm.version": version(), "torch.version": str(torch.__version__)})


def kin_of(vllm_config: Any, qualified_name: str) -> str:
    """Return the digest of what is served, whatever with: a miss is explained by others of the same kin."""
    model = vllm_config.model_config
    describe: Callable[[], Any] = getattr(getattr(model, "hf_config", None), "to_dict", dict)
    return digest_of_json({"class": qualified_name, "config": _plain(describe())})


def options_of(vllm_config: Any) -> dict[str, str]:
    """Return what went into vLLM's key, by name: the environment, and each part of its configuration.

    The values are there to explain a miss; the parts have none but digests of vLLM's.
    """
    options = {
        f"vllm.env.{name}": "(set)" if _SECRET.search(name) else _text(value)
        for name, value in sorted(environment().compile_factors().items())
        if value not in (None, "", False)
    }
    for name, part in sorted(vars(vllm_config).items()):
        digest = getattr(part, "compute_hash", None)
        if callable(digest):
            options[f"vllm.config.{name}"] = _text(_or_none(digest))
    model, scheduler = vllm_config.model_config, vllm_config.scheduler_config
    if model:
        options["vllm.model"] = _text(model.model)
        options["vllm.dtype"] = _text(model.dtype)
        options["vllm.max_model_len"] = _text(model.max_model_len)
    options["vllm.max_num_batched_tokens"] = _text(scheduler.max_num_batched_tokens)
    return dict(sorted(options.items(), key=lambda item: item[0].startswith("vllm.env."))[:OPTIONS_MAX])


def label_of(vllm_config: Any) -> str:
    """Return what people call the model: the name it is served under, or where it lies."""
    model = vllm_config.model_config
    named = getattr(model, "served_model_name", None) if model else None
    return _text(named or (model.model if model else ""))[:400]


def _or_none(digest: Callable[[], Any]) -> Any:
    try:
        return digest()
    except Exception:  # a part that can't be hashed by itself explains nothing
        return None


def _plain(value: Any) -> Any:
    """Return a configuration without what differs between equal ones: where it was read from."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items() if key not in _NOT_THE_MODEL}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | bool | type(None)) else repr(value)


def _text(value: Any) -> str:
    return str(value)[:TEXT_CHARS_MAX]
