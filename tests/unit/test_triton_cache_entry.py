"""What travels of Triton's entries, which names are refused, and what a kernel's surroundings are."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from cubins import KERNEL, KERNEL_BLANKED
from inductory_client.contract.errors import Malformed

pytest.importorskip("triton")

from inductory_client.integrations.triton_cache import entry, sharing, surroundings, used
from inductory_client.integrations.triton_cache.choosing import VARIABLE, install
from inductory_client.integrations.triton_cache.surroundings import Unclear, source_within, surroundings_of

INSTALLED = '/opt/a "place"/triton'
METADATA = json.dumps({"hash": "ab", "extern_libs": [["libdevice", f"{INSTALLED}/lib.bc"]]}).encode()
GROUP = {"k.json": METADATA, "k.cubin": KERNEL, "k.ptx": b"//", "k.source": b"loc", "k.ttir": b"module"}


def test_a_group_travels_without_texts_and_places() -> None:
    packed = entry.packed_group("k.json", GROUP, INSTALLED)
    assert packed is not None
    assert packed.keys() == {"k.json", "k.cubin"}
    assert b"/opt" not in packed["k.json"]
    elsewhere = entry.unpacked_group("k.json", packed, "/usr/triton")
    assert json.loads(elsewhere["k.json"])["extern_libs"] == [["libdevice", "/usr/triton/lib.bc"]]
    assert entry.unpacked_group("k.json", packed, INSTALLED) == {
        "k.json": METADATA,
        "k.cubin": KERNEL_BLANKED,
    }


@pytest.mark.parametrize("told", [b'{"ir_override": "mine.ttir"}', b'{"name": "[TRITON]"}', b"[]", b"{"])
def test_a_group_that_is_not_what_its_key_says_stays_here(told: bytes) -> None:
    assert entry.packed_group("k.json", GROUP | {"k.json": told}, INSTALLED) is None


@pytest.mark.parametrize(
    "files",
    [
        {"k.json": b"{}"},
        {"k.cubin": b"", "other.json": b"{}"},
        {"k.json": b"{}", "../k.cubin": b""},
        {"k.json": b"{}", "/tmp/k.cubin": b""},
        {"k.json": b"{}", "below/k.cubin": b""},
        {"k.json": b"{}", "__grp__k.json": b"{}"},
        {"k.json": b"{}", "": b""},
    ],
)
def test_a_group_of_other_names_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(Malformed):
        entry.unpacked_group("k.json", files, INSTALLED)


@pytest.mark.parametrize("files", [{}, {"b.so": b""}, {"a.so": b"", "b.so": b""}])
def test_a_native_module_is_one_file_of_its_name(files: dict[str, bytes]) -> None:
    with pytest.raises(Malformed):
        entry.unpacked_native("a.so", files)
    assert entry.unpacked_native("a.so", {"a.so": b"\x7fELF"}) == {"a.so": b"\x7fELF"}


def test_what_was_used_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(used, "_USED", {})
    monkeypatch.setattr(used, "USED_MAX", 2)
    for key in ("A/a.so", "A/a.so", "B/b.so", "C/c.so"):
        used.note_used(key)
    assert used.used_keys() == {"A/a.so", "B/b.so"}


def test_what_was_prefetched_is_bounded_and_handed_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {f"{name}/{name}.so": {f"{name}.so": b"bytes"} for name in "ABC"}
    asked: list[str] = []

    def fetch(keys: Any, share: float = 1.0) -> dict[str, Any]:
        keys = list(keys)
        asked.extend(keys)
        return {key: found[key] for key in keys}

    monkeypatch.setattr(sharing, "_ARRIVED", {})
    monkeypatch.setattr(sharing, "_fetch", fetch)
    monkeypatch.setattr(sharing, "ARRIVED_BYTES_MAX", 10)
    assert sharing.prefetch([*found, *found, "no key"]) == 3
    assert asked == list(found)
    asked.clear()
    for key in found:
        assert sharing.fetch(key) == found[key]
    assert asked == ["C/C.so"], "the others are held"
    assert sharing.fetch("A/A.so") == found["A/A.so"]
    assert asked == ["C/C.so", "A/A.so"], "and handed over once"


@pytest.mark.parametrize(
    "name", ["TRITON_KERNEL_OVERRIDE", "TRITON_ALLOW_NON_CONSTEXPR_GLOBALS", "USE_IR_LOC", ""]
)
def test_nothing_is_shared_while_somebody_works_on_kernels(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name:
        monkeypatch.setenv(name, "1")
    assert sharing.is_shared() == (name == "")


def test_nothing_is_shared_of_a_triton_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "knobs", SimpleNamespace())
    assert not sharing.is_shared()


def test_the_manager_that_somebody_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "triton.runtime.cache:FileCacheManager")
    assert not install()
    monkeypatch.setenv(VARIABLE, "no_such_module:Manager")
    assert not install()
    monkeypatch.delenv(VARIABLE)
    assert install()
    assert install()


# --- surroundings ---

SIZE: Any = 4
HELPER: Any = None


def size(value: Any, most: Any = SIZE) -> Any:
    return min(value, most, SIZE)


def jitted(function: Any) -> SimpleNamespace:
    return SimpleNamespace(fn=function, cache_key="")


def of(function: Any) -> str:
    return surroundings_of(SimpleNamespace(fn=jitted(function), constants={}))


def test_surroundings_follow_globals_closures_defaults_modules_and_functions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = sys.modules[__name__]

    def made(bound: Any) -> Any:
        def kernel(value: Any) -> Any:
            return [HELPER(part) + bound for part in value] + [json.limit]  # type: ignore[attr-defined]

        return kernel

    monkeypatch.setattr(here, "HELPER", jitted(size))
    monkeypatch.setattr(json, "limit", 1, raising=False)
    seen = {of(made(1))}
    assert of(made(1)) in seen
    seen.add(of(made(2)))
    monkeypatch.setattr(json, "limit", 2)
    seen.add(of(made(1)))
    monkeypatch.setattr(here, "SIZE", 5)
    seen.add(of(made(1)))
    monkeypatch.setattr(size, "__defaults__", (6,))
    seen.add(of(made(1)))
    monkeypatch.setattr(here, "HELPER", len)
    seen.add(of(made(1)))
    assert len(seen) == 6


def test_surroundings_that_no_text_says_are_unclear(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sys.modules[__name__]
    aggregate = type("Aggregate", (), {"hash_attrs": [object()]})
    for opaque in (object(), jitted(None), jitted, aggregate):
        monkeypatch.setattr(here, "SIZE", opaque)
        with pytest.raises(Unclear):
            of(size)


def test_functions_that_call_each_other_end_and_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sys.modules[__name__]
    monkeypatch.setattr(here, "SIZE", jitted(size))
    assert of(size) == of(size)
    monkeypatch.setattr(surroundings, "FUNCTIONS_MAX", 0)
    with pytest.raises(Unclear):
        of(size)


def test_only_tritons_own_compile_says_what_it_compiles() -> None:
    assert source_within(sys._getframe()) is None
    assert source_within(None) is None
    assert surroundings_of(SimpleNamespace(path="kernel.ttir")) == surroundings_of(object())


def test_what_is_waited_for_is_counted_also_where_no_client_can_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(settings: object) -> None:
        raise OSError("no folder can be made")

    monkeypatch.setattr(sharing, "_settings", lambda: object())
    monkeypatch.setattr(sharing, "shared_client", fail)
    before = sharing.waited_s()
    assert sharing.fetch(f"{'A' * 52}/kernel.so") is None
    assert sharing.waited_s() > before
