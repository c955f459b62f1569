"""Where vLLM and Triton look is found out as they do it."""

from __future__ import annotations

from pathlib import Path

import pytest
from inductory_client.integrations.vllm_folder.places import Places


@pytest.mark.parametrize(
    ("environ", "vllm", "triton"),
    [
        ({}, "~/.cache/vllm", "~/.triton/cache"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/vllm", "~/.triton/cache"),
        ({"VLLM_CACHE_ROOT": "~/v", "XDG_CACHE_HOME": "/x"}, "~/v", "~/.triton/cache"),
        ({"VLLM_CACHE_ROOT": "/v", "TRITON_CACHE_DIR": "/t"}, "/v", "/t"),
        ({"TRITON_HOME": "/h"}, "~/.cache/vllm", "/h/.triton/cache"),
    ],
)
def test_the_environment_decides(environ: dict[str, str], vllm: str, triton: str) -> None:
    found = Places.own(environ)
    assert found == Places(Path(vllm).expanduser(), Path(triton).expanduser())


@pytest.mark.parametrize("folder", ["/c", "/c/torch_compile_cache"])
def test_all_lies_below_one_folder(folder: str) -> None:
    assert Places.below(Path(folder)) == Places(Path("/c"), Path("/c/triton_cache"))
