"""What is known of factors that tend to differ by accident."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.cli.volatile import RULES, Verdict, is_path, verdicts
from inductory_client.contract.target import FactorDifference


def told(name: str, ours: str | None = "1", theirs: str | None = "2", *beside: str) -> Verdict:
    others = [FactorDifference(other, "1", "2") for other in beside]
    return verdicts([FactorDifference(name, ours, theirs), *others])[0]


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "volatile", "advice"),
    [
        ("vllm.env.VLLM_NIXL_SIDE_CHANNEL_HOST", "10.0.0.9", "10.0.0.7", True, "unset it"),
        ("vllm.env.VLLM_CACHE_ROOT", "/a", "/b", True, "folder"),
        ("vllm.env", "ab" * 32, "cd" * 32, True, "cache_key_factors.json"),
        ("vllm.config.model", "/models/qwen", "/mnt/qwen", True, "same name or path"),
        ("vllm.code_hash", "ab" * 32, "cd" * 32, True, "sources"),
        ("vllm.config_hash", "ab", "cd", False, "digest of vLLM's"),
        ("vllm.rank", "rank_0_0", "rank_1_0", False, "rank"),
        ("vllm.config.tokenizer", "/models/qwen", "/mnt/qwen", True, "same path"),
        ("vllm.config.max_num_batched_tokens", "2048", "8192", False, ""),
        ("vllm.config.compilation_config", "ab12", "cd34", False, "command lines"),
        ("vllm.max_num_batched_tokens", "2048", "8192", False, "argument"),
        ("vllm.model", "/models/qwen", "/mnt/qwen", True, "same name or path"),
        ("scheme_key", "ab12/rank_0_0", "cd34/rank_0_0", False, "no factor names"),
        ("cuda.driver", "580.65", "570.12", True, "driver"),
        ("cuda.device", "NVIDIA H100", "NVIDIA A100", False, "another GPU"),
        ("cpu.threads", "4", "8", True, "OMP_NUM_THREADS"),
        ("cpu.features", "avx", "avx2", False, "native code"),
        ("torch.version", "2.13.0", "2.12.0", False, "upgrade"),
        ("triton.ptxas", "12.9", "bundled", True, "TRITON_PTXAS_PATH"),
        ("triton.TRITON_F32_DEFAULT", "tf32", None, True, "environment"),
        ("triton.key", "ab", "cd", False, "Triton"),
        ("inductor.max_autotune", "true", None, False, "setting"),
        ("inductor.cpp.cxx", "/usr/bin/g++", "/opt/bin/g++", True, "same path"),
        ("option.max_autotune", "true", None, False, "compile option"),
        ("shape", "1-2048", "1-8192", False, "lengths"),
        ("something.new", "1", "2", False, ""),
        ("something.new", "/a/b", None, True, "path"),
        ("something.new", "/a/b", "2", False, ""),
    ],
)
def test_what_is_known_of_a_factor(
    name: str, ours: str, theirs: str | None, volatile: bool, advice: str
) -> None:
    found = told(name, ours, theirs)
    assert (found.volatile, found.ours, found.theirs) == (volatile, ours, theirs)
    assert advice in found.advice
    assert bool(advice) == bool(found.advice)


def test_files_of_torch_that_differ_within_a_version_are_an_accident() -> None:
    assert told("torch.key").volatile
    assert not told("torch.key", "1", "2", "torch.version").volatile


def test_a_gpu_of_the_same_name_with_other_resources_is_a_partition() -> None:
    assert "MIG" in told("cuda.multiprocessors").advice
    assert "MIG" not in told("cuda.multiprocessors", "1", "2", "cuda.device").advice


def test_a_digest_is_explained_by_the_settings_beside_it() -> None:
    assert "TORCHINDUCTOR_" in told("configuration").advice
    explained = told("configuration", "1", "2", "inductor.max_autotune")
    assert (explained.volatile, "what else differs" in explained.advice) == (False, True)
    assert "what else differs" in told("scheme_key", "1", "2", "vllm.env.VLLM_USE_V2").advice


@pytest.mark.parametrize("value", ["/a", "/a/b c"[:4], "~/x", "./x", "Qwen/Qwen3-1.7B", '"/usr/bin/g++"'])
def test_what_looks_like_a_path(value: str) -> None:
    assert is_path(value)


@pytest.mark.parametrize("value", ["", "1", "2.13.0", "NVIDIA A100 / SXM4", "linux-x86_64", "a b/c"])
def test_what_does_not(value: str) -> None:
    assert not is_path(value)


def test_every_rule_is_a_sentence_and_a_pattern() -> None:
    for rule in RULES:
        re.compile(rule.names)
        assert rule.advice.endswith(".")
        assert rule.advice[0].isupper() or rule.advice.startswith(("vLLM", "torch"))


@given(st.lists(st.tuples(st.text(max_size=20), st.none() | st.text(max_size=30)), max_size=6))
def test_any_difference_has_a_verdict(pairs: list[tuple[str, str | None]]) -> None:
    found = verdicts(FactorDifference(name, value, "there") for name, value in pairs)
    assert [(each.name, each.ours) for each in found] == pairs
