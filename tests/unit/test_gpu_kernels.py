"""Kernels: when one is tuned, what of one travels, and with what it is tuned."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
import torch._inductor.config
from inductory_client.contract.errors import LoadFailed
from inductory_client.graph import torch_private
from inductory_client.graph.kernel_file import (
    Kernel,
    LoadedKernel,
    decode_kernel,
    encode_kernel,
    for_device_0,
    kernel_name,
)
from inductory_client.graph.kernels import ArtifactKernels
from inductory_client.graph.unsupported import Unsupported
from inductory_compiler.for_gpu import compiling_for_gpu, example_tensors

LAUNCH = torch_private.Launch(
    name="triton_poi_0",
    parameters=("in_ptr0", "out_ptr0", "ynumel", "xnumel"),
    arguments=("in_ptr0", "out_ptr0", "xnumel", "None"),
    types="OOiO",
    warps=4,
    shared=2048,
    prefix=("blocks = -((ynumel) // -(128))", "layers = -((blocks) // -(65535))"),
    grid=("-((xnumel) // -(32))", "-((blocks) // -(layers))", "layers"),
    config="XBLOCK: 32",
    cubin=b"\x7fELF and more",
)


class Driver:
    """What kernels are loaded with, and launched by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded: list[tuple[bytes, str, int, int]] = []
        self.launched: list[tuple[Any, ...]] = []
        self.paths: list[str] = []
        monkeypatch.setattr(torch_private, "load_cubin", self.load)
        monkeypatch.setattr(torch_private, "launcher", lambda: lambda *told: self.launched.append(told))

    def load(self, path: str, name: str, shared: int, index: int) -> int:
        with open(path, "rb") as file:
            self.loaded.append((file.read(), name, shared, index))
        self.paths.append(path)
        return 41 + len(self.loaded)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def test_a_kernel_comes_out_of_its_file_as_it_went_in() -> None:
    data = encode_kernel(LAUNCH)
    assert encode_kernel(LAUNCH) == data
    found = decode_kernel(data)
    assert {name: getattr(found, name) for name in vars(LAUNCH)} == vars(LAUNCH)


def test_a_kernel_is_loaded_from_memory_and_launched_with_nothing_left_to_decide(driver: Driver) -> None:
    kernel = LoadedKernel(decode_kernel(encode_kernel(LAUNCH)), 3)
    assert driver.loaded == [(b"\x7fELF and more", "triton_poi_0", 2048, 3)]
    assert not os.path.exists(driver.paths[0]), "nobody else can reach it, then or later"
    x, y = torch.ones(1), torch.ones(2)
    kernel.run(x, y, 20_000_000, 33, stream=9)
    assert driver.launched == [(42, 2, 52084, 3, 4, 2048, "OOiO", (x, y, 33, None), 9)]


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut short": (lambda data: data[:-4], "can't be read"),
    "empty": (lambda data: b"", "can't be read"),
    "something else": (lambda data: b"\x7fELF", "can't be read"),
    "of another version": (lambda data: changed(data, version=2), "is of version 2, not 1"),
    "without a field": (lambda data: changed(data, grid=None), "can't be read"),
    "with a field more": (lambda data: changed(data, entry="x"), "can't be read"),
    "with too few types": (lambda data: changed(data, types="OO"), "of each argument what it is"),
    "with too many types": (lambda data: changed(data, types="OOiOO"), "of each argument what it is"),
    "with too many warps": (lambda data: changed(data, warps=65), "can't be read"),
    "with less than no memory": (lambda data: changed(data, shared=-1), "can't be read"),
}


def changed(data: bytes, **fields: Any) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.decode(data) | fields)


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_none_is_refused(name: str) -> None:
    change, told = BAD[name]
    with pytest.raises(LoadFailed, match=told):
        decode_kernel(change(encode_kernel(LAUNCH)))


@pytest.mark.parametrize("error", [RuntimeError("no kernel image"), OSError("no memory")])
def test_what_the_driver_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*told: object) -> int:
        raise error

    monkeypatch.setattr(torch_private, "load_cubin", refuse)
    with pytest.raises(LoadFailed, match=f"doesn't take the kernel triton_poi_0: {error}"):
        LoadedKernel(decode_kernel(encode_kernel(LAUNCH)), 0)


SOURCE = "triton_meta={'device': DeviceProperties(type='cuda', index=%d, cc=90)}, x = 1"


def test_a_kernel_has_one_name_on_all_devices_of_a_machine() -> None:
    assert for_device_0(SOURCE % 3) == SOURCE % 0
    assert len({kernel_name(SOURCE % index) for index in range(4)}) == 1
    assert kernel_name(SOURCE % 0) != kernel_name(SOURCE % 0 + " ")
    assert kernel_name(SOURCE % 0) != kernel_name((SOURCE % 0).replace("cc=90", "cc=100"))


def test_an_artifact_gives_out_its_own_kernels_only(driver: Driver) -> None:
    """Whatever torch would do isn't done."""

    def stock() -> Any:
        raise AssertionError("nothing is compiled here")

    files = {"abc": encode_kernel(LAUNCH)}
    made = ArtifactKernels(files, 1).triton("triton_poi_0", "abc", stock)
    assert driver.loaded[0][-1] == 1
    assert callable(made.run)
    with pytest.raises(LoadFailed, match="lacks a kernel"):
        ArtifactKernels(files, 1).triton("triton_poi_0", "abd", stock)
    with pytest.raises(LoadFailed, match="the GPU kernel triton_poi_0, and is for no GPU"):
        ArtifactKernels(files, None).triton("triton_poi_0", "abc", stock)


# --- as torch has them ---


def tuner(*configs: Any, **meta: Any) -> Any:
    return SimpleNamespace(
        launchers=[SimpleNamespace(config=config) for config in configs], inductor_meta=meta, triton_meta={}
    )


def test_a_kernel_is_tuned_where_it_has_a_choice_left() -> None:
    plain, searched = SimpleNamespace(), SimpleNamespace(found_by_coordesc=True)
    descends = {"coordinate_descent_tuning": True}
    assert not torch_private.needs_tuning(tuner(plain))
    assert torch_private.needs_tuning(tuner(plain, plain))
    assert torch_private.needs_tuning(tuner())
    assert torch_private.needs_tuning(tuner(plain, **descends))
    assert not torch_private.needs_tuning(tuner(searched, **descends))


def runs_elsewhere() -> Any:
    """A launcher whose runner is Triton's own."""
    scope: dict[str, Any] = {"runner": [].append}
    exec("def launcher(): ...", scope)
    scope["launcher"].inductory_plan = ((), (), None)
    return scope["launcher"]


@pytest.mark.parametrize(
    ("launchers", "told"),
    [
        ([], "has 0 launchers"),
        ([runs_elsewhere(), runs_elsewhere()], "has 2 launchers"),
        ([runs_elsewhere()], "without Triton"),
        ([test_a_kernel_is_tuned_where_it_has_a_choice_left], "without Triton"),
    ],
)
def test_a_kernel_that_torch_cannot_launch_alone_is_refused(launchers: list[Any], told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        torch_private.launch_of(SimpleNamespace(launchers=launchers))


def test_a_kernel_that_is_no_tuner_of_torchs_is_refused() -> None:
    with pytest.raises(Unsupported, match="has 0 launchers"):
        torch_private.launch_of(object())


def test_settings_of_a_compile_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it fails; and a line-info setting of the user's comes back."""
    config = torch._inductor.config
    before = config.use_static_triton_launcher, config.bundle_triton_into_fx_graph_cache
    monkeypatch.setenv("TRITON_DISABLE_LINE_INFO", "0")
    found: list[Any] = []

    def fail() -> None:
        with torch_private.static_launchers(), torch_private.without_line_numbers():
            found.extend((config.use_static_triton_launcher, config.bundle_triton_into_fx_graph_cache))
            found.append(os.environ["TRITON_DISABLE_LINE_INFO"])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert found == [True, False, "1"]
    assert (config.use_static_triton_launcher, config.bundle_triton_into_fx_graph_cache) == before
    assert os.environ["TRITON_DISABLE_LINE_INFO"] == "0"
    monkeypatch.delenv("TRITON_DISABLE_LINE_INFO")
    with torch_private.without_line_numbers():
        pass
    assert "TRITON_DISABLE_LINE_INFO" not in os.environ


def test_workers_leave_lines_out_too() -> None:
    """They have an environment of their own: a task brings what is to be set in it."""
    from torch._inductor.async_compile import AsyncCompile, get_compile_threads

    task = {"TORCHINDUCTOR_CACHE_DIR": "/somewhere", "OTHER": "1"}
    with torch._inductor.config.patch("compile_threads", 2):
        assert get_compile_threads() == 2
        pool = AsyncCompile.process_pool()
        try:
            with torch_private.without_line_numbers():
                done = pool.submit(dict, task).result()
                other = pool.submit(dict, {"OTHER": "1"}).result()
            after = pool.submit(dict, task).result()
        finally:
            pool.shutdown()
            AsyncCompile.process_pool.cache_clear()
    assert done == task | {"TRITON_DISABLE_LINE_INFO": "1"}
    assert other == {"OTHER": "1"}
    assert after == task


def test_what_is_recorded_as_a_cuda_graph_is_not_compiled_for_sharing() -> None:
    with pytest.raises(Unsupported, match="CUDA graphs"), compiling_for_gpu(0, {"triton.cudagraphs": True}):
        raise AssertionError("not reached")


# --- what kernels are tuned with ---


def examples(make: Callable[[Any], list[Any]]) -> list[Any]:
    """Return real inputs for fakes that `make` makes of a length between 4 and 4096, tuned for at 64."""
    mode, symbols, size = torch_private.fake_inputs([("tokens", 4, 4096, 64)])
    length = size(symbols["tokens"])
    with mode:
        inputs = make(length)
    return example_tensors(inputs)


def test_tensors_to_tune_with_are_as_long_as_the_hints_and_laid_out_alike() -> None:
    length, plain, turned, repeated, inside = examples(
        lambda n: [
            n,
            torch.empty(n, 8),
            torch.empty(n, 8, 2).transpose(0, 2),
            torch.empty(8).expand(n, 8),
            torch.empty(n * 10 + 7).as_strided((n, 4), (10, 1), n + 3),
        ]
    )
    assert length == 64
    assert type(length) is int
    assert (plain.shape, plain.stride()) == ((64, 8), (8, 1))
    assert (turned.shape, turned.stride()) == ((2, 8, 64), (1, 2, 16))
    assert (repeated.shape, repeated.stride()) == ((64, 8), (0, 1))
    assert (inside.shape, inside.stride(), inside.storage_offset()) == ((64, 4), (10, 1), 67)
    for value in (plain, turned, repeated, inside):
        assert not isinstance(value, torch_private.FakeTensor)
        assert value.isfinite().all()
        assert value.std() > 0


def test_what_may_be_an_index_is_zero() -> None:
    kinds = (torch.int64, torch.int32, torch.uint8, torch.bool, torch.float8_e4m3fn)
    found = examples(lambda n: [torch.empty(n, 3, dtype=kind) for kind in kinds])
    assert [value.dtype for value in found] == list(kinds)
    assert not any(value.to(torch.float32).any() for value in found)


def test_tensors_without_elements_and_without_dimensions_can_be_made() -> None:
    none, one = examples(lambda n: [torch.empty(0, n), torch.empty((), dtype=torch.bfloat16)])
    assert none.shape == (0, 64)
    assert (one.shape, one.dtype) == ((), torch.bfloat16)


def test_a_file_says_what_it_is_of() -> None:
    """A change of what a kernel's file holds is a new version, or nodes couldn't read each other's."""
    assert Kernel.__struct_fields__ == (
        *("version", "name", "parameters", "arguments", "types", "warps", "shared", "prefix"),
        *("grid", "config", "cubin"),
    )
