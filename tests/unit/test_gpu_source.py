"""Generated source and the index of the GPU that it names: rewritten where it is understood, else refused."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

import pytest
import torch
from inductory_client.graph import torch_private
from inductory_client.graph.device_source import device_index, on_device
from inductory_client.graph.load import checked_device
from inductory_client.graph.unsupported import Unsupported
from inductory_compiler.for_gpu import compiling_for_gpu
from inductory_compiler.generated import portable, readable, triton_sources

HEADER = """\
import torch
from torch import device, empty_strided
from torch._inductor.async_compile import AsyncCompile
from torch._C import _cuda_getCurrentRawStream as get_raw_stream
aten = torch.ops.aten
empty_strided_cuda = torch._C._dynamo.guards._empty_strided_cuda
async_compile = AsyncCompile()
triton_poi_fused_mul_0 = async_compile.triton('triton_poi_fused_mul_0', 'aaaa', device_str='cuda')
async_compile.wait(globals())
"""


def call(body: str, index: int = 0, stream: str = "raw_stream") -> str:
    """A module with everything that is known to name an index."""
    return HEADER + textwrap.dedent(f"""
        def call(args):
            arg0_1, = args
            with torch.cuda._DeviceGuard({index}):
                torch.cuda.set_device({index})
                buf0 = empty_strided_cuda((16, 4), (4, 1), torch.float32)
                {stream}{index} = get_raw_stream({index})
                triton_poi_fused_mul_0.run(arg0_1, buf0, 64, stream={stream}{index})
                {body.replace("INDEX", str(index))}
                torch.cuda.synchronize()
            return (buf0,)
        """)


KNOWN = {
    "guards, streams and what is called": "pass",
    "a device that is made": "buf1 = torch.ops.mine.op(buf0, device(type='cuda', index=INDEX))",
    "a device as an argument": "buf1 = aten.full([4], 2, device=device(type='cuda', index=INDEX))",
    "torch's own name for it": "buf1 = aten.full([4], 2, device=torch.device(type='cuda', index=INDEX))",
    "a device as text": "buf1 = aten.full([4], 2, device='cuda:INDEX')",
    "a device made of text": "buf1 = aten.full([4], 2, device=device('cuda:INDEX'))",
    "a device of the host's": "buf1 = aten.full([4], 2, device=device(type='cpu'))",
    "the host's as text": "buf1 = aten.full([4], 2, device=torch.device('cpu'))",
    "an operator with any name": "buf1 = torch.ops.my_gpu.on_device_stream.default(buf0)",
}


@pytest.mark.parametrize("stream", ["stream", "raw_stream"])
@pytest.mark.parametrize("what", KNOWN)
def test_what_is_known_is_made_for_another_index(what: str, stream: str) -> None:
    zero, one, seven = (parsed(call(KNOWN[what], index, stream)) for index in (0, 1, 7))
    assert [device_index(tree) for tree in (zero, one, seven)] == [0, 1, 7]
    assert text(on_device(parsed(call(KNOWN[what], 0, stream)), 1)) == text(one)
    assert text(on_device(one, 7)) == text(seven)
    assert text(on_device(seven, 0)) == text(zero), "and back again"


def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def text(tree: ast.Module) -> str:
    return ast.unparse(tree)


def test_the_other_way_to_name_the_stream() -> None:
    """By an assignment in the header; and where no stream is asked for, by nothing."""
    assigned = call("pass").replace(
        "from torch._C import _cuda_getCurrentRawStream as get_raw_stream",
        "get_raw_stream = torch._C._cuda_getCurrentRawStream",
    )
    assert device_index(parsed(assigned)) == 0
    assert "_cuda_getCurrentRawStream" in text(on_device(parsed(assigned), 1))
    assert device_index(parsed("x = 1")) is None
    assert text(on_device(parsed("x = 1"), 3)) == "x = 1"


REFUSED = {
    "another GPU": "buf1 = aten.full([4], 2, device='cuda:1')",
    "another GPU's guard": "torch.cuda.set_device(1)",
    "a variable": "torch.cuda.set_device(arg0_1.device.index)",
    "a guard with a variable": "torch.cuda._DeviceGuard(index)",
    "a truth for a number": "torch.cuda.set_device(True)",
    "an index by name": "torch.cuda.set_device(device=0)",
    "several indices": "get_raw_stream(0, 0)",
    "a stream of a variable": "raw_stream0 = get_raw_stream(index)",
    "another's stream under this name": "raw_stream0 = get_raw_stream(1)",
    "a user's stream": "stream0 = get_external_object_by_index(0)",
    "the default stream": "raw = default_stream",
    "a device without an index": "buf1 = aten.full([4], 2, device=device(type='cuda'))",
    "a device with a variable": "buf1 = aten.full([4], 2, device=device(type='cuda', index=index))",
    "a device of a variable": "buf1 = aten.full([4], 2, device=device(index))",
    "a device of text without an index": "buf1 = aten.full([4], 2, device=device('cuda'))",
    "a device by its number": "buf1 = aten.full([4], 2, device=0)",
    "a device made of a number": "buf1 = aten.full([4], 2, device=device(0))",
    "a device of another kind": "buf1 = aten.full([4], 2, device=device(type='xpu', index=0))",
    "text that holds a device": "buf1 = torch.ops.mine.op(buf0, 'on cuda:0 or so')",
    "text that is put together": "buf1 = torch.ops.mine.op(buf0, f'cuda:{index}')",
    "a guard under another name": "guard = torch.cuda._DeviceGuard",
    "a function as a value": "then(torch.cuda.set_device)",
    "torch's own stream": "raw = torch._C._cuda_getCurrentRawStream(0)",
    "torch.cuda under another name": "other.set_device(0)",
    "a context": "torch.cuda.device(0)",
    "a stream object": "torch.cuda.stream(raw_stream0)",
    "waiting for one GPU": "torch.cuda.synchronize(0)",
    "what isn't known": "buf1 = cuda_thing(buf0)",
    "an attribute that isn't known": "buf1 = helpers.per_gpu(buf0)",
    "an argument that isn't known": "buf1 = aten.full([4], 2, device_index=0)",
    "an import": "from torch.cuda import set_device as choose",
    "an import of a part": "import torch.cuda.nvtx",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_known_is_refused(what: str) -> None:
    tree = parsed(call(REFUSED[what]))
    with pytest.raises(Unsupported, match="generated code"):
        device_index(tree)
    with pytest.raises(Unsupported, match="generated code"):
        on_device(tree, 1)


# --- what travels, and what is read ---


def test_code_that_was_compiled_for_another_gpu_than_was_asked_for_is_refused() -> None:
    with pytest.raises(Unsupported, match="compiled for GPU 2 names GPU 1"):
        portable(call("pass", 1), 2)


def test_code_travels_for_gpu_0_without_what_is_there_to_read() -> None:
    source = call("pass", 3) + textwrap.dedent("""
        '''
        Compile-time auto-tuning block: cuda:3
        '''
        unused = torch.ops.inductor._alloc_from_pool
        def get_args():
            return [rand_strided((16, 4), (4, 1), device='cuda:3', dtype=torch.float32)]
        def benchmark_compiled_module(args, times=10, repeat=10):
            return None
        if __name__ == '__main__':
            benchmark_compiled_module(get_args())
        """)
    found = portable(source, 3)
    assert device_index(parsed(found)) == 0
    for told in ("auto-tuning", "alloc_from_pool", "get_args", "benchmark", "__main__", "empty_strided\n"):
        assert told not in found
    assert found == portable(call("pass", 0), 0)


@pytest.mark.parametrize("kind", ["multi_kernel", "cuda", "triton_with_nothing"])
def test_kernels_of_other_kinds_are_refused(kind: str) -> None:
    source = f"kernel = async_compile.{kind}('name', '''source''')"
    with pytest.raises(Unsupported, match=f"a kind that isn't carried: {kind}"):
        triton_sources(source)


@pytest.mark.parametrize("arguments", ["'name'", "'name', SOURCE", "'name', 1", "'name', f'{x}'"])
def test_a_kernel_whose_source_is_not_spelt_out_is_refused(arguments: str) -> None:
    with pytest.raises(Unsupported, match="isn't spelt out"):
        triton_sources(f"kernel = async_compile.triton({arguments})")


def test_the_text_to_read_is_for_gpu_0_and_keeps_kernels() -> None:
    source = '''\
# AOT ID: ['5_inference']
"""
Compile-time auto-tuning block
"""
# kernel path: /somewhere/abc.py
# %arg0_1 : Tensor "f32[16, 4][4, 1]cuda:2" = PlaceHolder[target=arg0_1]
kernel = async_compile.triton('kernel', """
device=DeviceProperties(type='cuda', index=2, cc=90)
tl.store(out_ptr0 + (x0), tmp1, xmask)
""")
raw_stream2 = get_raw_stream(2)
with torch.cuda._DeviceGuard(2): torch.cuda.set_device(2)
x = 2
'''
    assert (
        readable(source)
        == '''\
# %arg0_1 : Tensor "f32[16, 4][4, 1]cuda:0" = PlaceHolder[target=arg0_1]
kernel = async_compile.triton('kernel', """
device=DeviceProperties(type='cuda', index=0, cc=90)
tl.store(out_ptr0 + (x0), tmp1, xmask)
""")
raw_stream0 = get_raw_stream(0)
with torch.cuda._DeviceGuard(0): torch.cuda.set_device(0)
x = 2
'''
    )


# --- the first call, and compiling ---


def fake(device: str) -> Any:
    with torch_private.FakeTensorMode():
        return torch.empty(2, device=device)


def test_the_first_call_must_be_on_its_own_gpu() -> None:
    called: list[Any] = []

    def run(*inputs: Any) -> list[Any]:
        called.append(inputs)
        return []

    code = checked_device(run, 0)
    for inputs in ([fake("cuda:1")], [torch.ones(2), 7, fake("cuda:1")]):
        with pytest.raises(RuntimeError, match="code for cuda:0 was called with a tensor on cuda:1"):
            code(*inputs)
    assert called == [], "nothing ran"
    code(3, torch.ones(2), fake("cuda:0"))
    code(fake("cuda:0"))
    assert len(called) == 2


def test_code_that_is_recorded_as_cuda_graphs_is_refused() -> None:
    """By an option, or by the setting, which an option may take back."""
    refusal = pytest.raises(Unsupported, match=r"CUDA graphs .* \(`triton.cudagraphs`\)")
    with refusal, compiling_for_gpu(0, {"triton.cudagraphs": True}):
        raise AssertionError("it isn't compiled")
    with torch._inductor.config.patch("triton.cudagraphs", True):
        with refusal, compiling_for_gpu(0, {}):
            raise AssertionError("it isn't compiled")
        assert not torch_private.records_cuda_graphs({"triton.cudagraphs": False})
