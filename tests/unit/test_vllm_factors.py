"""What decides a model's code in vLLM, and what of it is told to others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from inductory_client.integrations.vllm.factors import (
    OPTIONS_MAX,
    TEXT_CHARS_MAX,
    gpu_of,
    key_of,
    kin_of,
    label_of,
    modelinfo_target,
    options_of,
    target_of,
)

Environment = dict[str, Any]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """What a vLLM that stands in for the real one says that it hashes of its environment."""
    hashed: Environment = {}
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__="0.32.0"))
    monkeypatch.setitem(sys.modules, "vllm.envs", SimpleNamespace(compile_factors=lambda: hashed))
    return hashed


def configuration(**parts: Any) -> SimpleNamespace:
    """A configuration of vLLM's, as far as it is read."""
    fields = {
        "model_config": SimpleNamespace(model="/models/tiny", dtype=torch.bfloat16, max_model_len=2048),
        "scheduler_config": SimpleNamespace(max_num_batched_tokens=8192),
        "device_config": SimpleNamespace(device="cpu"),
    }
    return SimpleNamespace(**fields | parts)


def configured(**fields: Any) -> SimpleNamespace:
    """The same of a model with this configuration of Hugging Face's."""
    hf_config = SimpleNamespace(to_dict=lambda: fields)
    return configuration(model_config=SimpleNamespace(hf_config=hf_config))


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "VLLM_API_KEY", "AWS_SECRET_ACCESS", "DB_PASSWORD", "gcp_credentials", "my_token_1"]
)
def test_a_secret_is_never_told(environment: Environment, name: str) -> None:
    environment[name] = "hunter2"
    options = options_of(configuration())
    assert options[f"vllm.env.{name}"] == "(set)"
    assert "hunter2" not in str(options)


def test_variables_that_are_not_set_are_left_out(environment: Environment) -> None:
    environment |= {"NONE": None, "EMPTY": "", "OFF": False, "ON": True, "TEXT": "auto"}
    told = {name: value for name, value in options_of(configuration()).items() if ".env." in name}
    assert told == {"vllm.env.ON": "True", "vllm.env.TEXT": "auto"}


def test_the_parts_of_a_configuration_are_told_by_vllms_digests() -> None:
    def fail() -> str:
        raise AttributeError("not without a GPU")

    options = options_of(
        configuration(
            cache_config=SimpleNamespace(compute_hash=lambda: "abc"),
            kernel_config=SimpleNamespace(compute_hash=fail),
            instance_id="0",
        )
    )
    assert options == {
        "vllm.config.cache_config": "abc",
        "vllm.config.kernel_config": "None",
        "vllm.model": "/models/tiny",
        "vllm.dtype": "torch.bfloat16",
        "vllm.max_model_len": "2048",
        "vllm.max_num_batched_tokens": "8192",
    }


def test_an_engine_without_a_model_has_options_too() -> None:
    assert options_of(configuration(model_config=None)) == {"vllm.max_num_batched_tokens": "8192"}
    assert label_of(configuration(model_config=None)) == ""


def test_options_fit_into_an_artifact(environment: Environment) -> None:
    environment |= {f"VARIABLE_{place:03}": "x" * 10_000 for place in range(300)}
    options = options_of(configuration())
    assert len(options) == OPTIONS_MAX
    assert max(map(len, options.values())) == TEXT_CHARS_MAX
    assert options["vllm.model"] == "/models/tiny", "variables go first where there are too many"


def test_kin_are_the_same_model_wherever_it_lies() -> None:
    here = configured(hidden_size=64, _name_or_path="/models/tiny", transformers_version="4.56")
    there = configured(hidden_size=64, _name_or_path="/mnt/tiny", transformers_version="4.57")
    assert kin_of(here, "Tiny") == kin_of(there, "Tiny")
    assert kin_of(here, "Tiny") != kin_of(configured(hidden_size=128), "Tiny")
    assert kin_of(here, "Tiny") != kin_of(here, "Draft"), "one configuration, another class"


@pytest.mark.parametrize("text", [{"rope": {"_name_or_path": "a", "base": 1}}, {"rope": {"base": 1}}])
def test_where_parts_of_it_were_read_from_is_left_out_too(text: dict[str, Any]) -> None:
    assert kin_of(configured(**text), "Tiny") == kin_of(configured(rope={"base": 1}), "Tiny")


def test_a_configuration_may_hold_anything() -> None:
    first = configured(dtype=torch.float16, eps=1e-5, sizes=(1, 2), names={1: "a"})
    again = configured(dtype=torch.float16, eps=1e-5, sizes=[1, 2], names={"1": "a"})
    other = configured(dtype=torch.float16, eps=1e-6, sizes=(1, 2), names={1: "a"})
    assert kin_of(first, "Tiny") == kin_of(again, "Tiny")
    assert kin_of(first, "Tiny") != kin_of(other, "Tiny")


def test_a_model_without_a_configuration_has_kin() -> None:
    assert kin_of(configuration(), "Tiny") == kin_of(configuration(model_config=None), "Tiny")


def test_a_label_is_what_a_model_is_served_under() -> None:
    assert label_of(configuration()) == "/models/tiny"
    served = SimpleNamespace(model="/models/tiny", served_model_name="tiny")
    assert label_of(configuration(model_config=served)) == "tiny"


@pytest.mark.parametrize(
    "target", [lambda: target_of(configuration()), modelinfo_target], ids=["model", "modelinfo"]
)
def test_a_target_names_the_versions(target: Callable[[], Any]) -> None:
    factors = target().factors
    assert factors["vllm.version"] == "0.32.0"
    assert factors["torch.version"] == str(torch.__version__)


@pytest.mark.parametrize("device", ["cuda", torch.device("cuda"), torch.device("cuda:1")])
def test_a_model_is_for_the_gpu_that_its_process_has_made_the_current_one(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's configuration says which kind, and a worker which one."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert gpu_of(configuration(device_config=SimpleNamespace(device=device))) == 3
    assert gpu_of(configuration()) == 0


@pytest.mark.parametrize(
    ("size", "rank", "keyed"),
    [(1, "rank_1_3", "rank_1_0"), (4, "rank_1_3", "rank_1_3"), (1, "rank_0_0", "rank_0_0")],
)
def test_data_parallel_ranks_that_are_engines_of_their_own_are_one(size: int, rank: str, keyed: str) -> None:
    config = configuration(parallel_config=SimpleNamespace(data_parallel_size=size))
    assert key_of(config, Path("/root", "digest", rank, "model")) == f"digest/{keyed}"


def test_a_model_on_a_cpu_is_for_that_cpu_and_no_gpu() -> None:
    factors = target_of(configuration()).factors
    assert factors["cpu.capability"] == torch.backends.cpu.get_cpu_capability()
    assert not any(name.startswith("cuda.") for name in factors)
