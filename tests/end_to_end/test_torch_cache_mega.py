"""Mega-Caches: all that a process compiled, under a name, put back into another's local caches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inductory_client.contract.errors import BadSettings
from inductory_client.integrations.mega_cache import load_cache, save_cache
from misbehaving import refused
from torch_machine import Machine

PLACE = {"INDUCTORY_NAMESPACE": "mega-cache"}


def test_a_mega_cache_is_saved_once_and_loaded_by_others(tmp_path: Path, store_url: str) -> None:
    builder = Machine(tmp_path / "builder", store_url, environ=PLACE)
    first = builder.run("stock", "mega_cache").results["mega_cache"]
    assert first["loaded"] is None
    assert first["saved"]["outcome"] == "created"
    assert first["saved"]["entries"] == {"aot_autograd": 1, "inductor": 1}

    node = Machine(tmp_path / "node", store_url, trusts=(builder.public_key,), environ=PLACE)
    ran = node.run("stock", "mega_cache", "mega_cache_grown")
    second, grown = ran.results["mega_cache"], ran.results["mega_cache_grown"]
    assert second["loaded"] == {**first["saved"], "outcome": "loaded"}
    assert (second["autograd_hits"], second["autograd_misses"]) == (1, 0)
    assert second["fingerprint"] == first["fingerprint"]
    assert second["saved"]["outcome"] == "unchanged", "nothing is sent"
    assert grown["saved"]["entries"] == {"aot_autograd": 2, "inductor": 2}
    assert grown["saved"]["outcome"] == "different", "the first one stays"
    assert ran.warnings == []


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {"cache_dir": tmp_path / "cache", "config_dir": tmp_path / "config"}


def test_misuse_is_told(options: dict[str, Any]) -> None:
    for call in (load_cache, save_cache):
        with pytest.raises(BadSettings, match="a Mega-Cache's name"):
            call("", **options)
        with pytest.raises(BadSettings, match="did you mean url"):
            call("name", urll="http://localhost", **options)


def test_a_fault_is_nothing_to_load(options: dict[str, Any]) -> None:
    with refused() as url:
        assert load_cache("name", url=url, **options) is None
    assert load_cache("name", disabled=True, **options) is None
    assert save_cache("name", disabled=True, **options) is None
