"""What torch compiled for one GPU becomes what it would have compiled for another, and nothing is guessed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from inductory_client.contract.errors import Malformed
from inductory_client.graph.torch_private import names_of_source
from inductory_client.graph.unsupported import Unsupported
from inductory_client.integrations.vllm.device_index import on_gpu, tuned_on_gpu
from inductory_client.integrations.vllm.model_start import ModelStart
from torch._dynamo.package import InlinedSource
from torch._inductor.runtime.hints import DeviceProperties
from torch._inductor.triton_bundler import TritonBundle, TritonKernelArtifact, TritonKernelArtifacts
from torch.utils._appending_byte_serializer import AppendingByteSerializer, BytesReader, BytesWriter
from torch.utils._ordered_set import OrderedSet

ROOT = "/VLLM_CACHE_ROOT/torch_compile_cache"
ANY: dict[str, Any] = {"cache": None, "key": "", "kin": "", "options": {}, "label": "", "root": ROOT}
"""What of a model's start has nothing to do with GPUs."""

FOLDER = f"{ROOT}/torch_aot_compile/{'ab' * 32}/inductor_cache"

KERNEL = """
import triton
from torch._inductor.runtime.hints import DeviceProperties

@triton_heuristics.pointwise(
    triton_meta={{'device': DeviceProperties(type='cuda', index={gpu}, multi_processor_count=132)}},
    inductor_meta={{'kernel_name': '{name}'}},
)
@triton.jit
def {name}(in_ptr0, out_ptr0, xnumel, XBLOCK : tl.constexpr):
    pass
"""

MODULE = """
import torch
async_compile = AsyncCompile()
empty_strided_cuda = torch._C._dynamo.guards._empty_strided_cuda
from torch._C import _cuda_getCurrentRawStream as get_raw_stream

# kernel path: {folder}/{first}.py
#   %mm : Tensor "bf16[s72, 1024][1024, 1]cuda:{gpu}" = PlaceHolder[target=mm]
triton_poi_1 = async_compile.triton('triton_poi_1', '''{kernel_1}''', device_str='cuda')
triton_poi_2 = async_compile.triton('triton_poi_2', '''{kernel_2}''', device_str='cuda')

async_compile.wait(globals())

def call(args):
    arg0_1, = args
    with torch.cuda._DeviceGuard({gpu}):
        torch.cuda.set_device({gpu})
        buf0 = empty_strided_cuda((8, 1024), (1024, 1), torch.bfloat16)
        stream{gpu} = get_raw_stream({gpu})
        triton_poi_1.run(arg0_1, buf0, 8192, stream=stream{gpu})
        {more}
    return (buf0, )
"""

BARE = """
import torch
async_compile = AsyncCompile()

async_compile.wait(globals())

def call(args):
    arg0_1, arg1_1 = args
    with torch.cuda._DeviceGuard({gpu}):
        torch.cuda.set_device({gpu})
        buf0 = empty_strided_cuda((8, 8), (8, 1), torch.bfloat16)
        extern_kernels.mm(arg0_1, arg1_1, out=buf0)
        {more}
    return (buf0, )
"""
"""A module without kernels of its own."""


@dataclass
class Compiled:
    """As torch's CompiledFxGraph and what lies about it, as far as the GPU is in it."""

    cache_key: str
    source_code: str
    device_types: Any
    device_idxs: Any
    bundle: TritonBundle
    kernels: list[tuple[str, str, str, str]]
    props: DeviceProperties
    device: torch.device
    graph: str
    bare: tuple[str, str]
    """A module without kernels, and its name."""
    numbers: dict[str, int]
    """Numbers that are no index."""


def compiled(gpu: int, more: str = "pass", more_bare: str = "pass") -> Compiled:
    sources = [KERNEL.format(gpu=gpu, name=f"triton_poi_{number}") for number in (1, 2)]
    names = [names_of_source(source) for source in sources]
    first = names[0].file
    source = MODULE.format(
        gpu=gpu,
        folder=f"{FOLDER}/{first[1:3]}",
        first=first,
        kernel_1=sources[0],
        kernel_2=sources[1],
        more=more.format(gpu=gpu),
    )
    bare = BARE.format(gpu=gpu, more=more_bare.format(gpu=gpu))
    artifacts = [TritonKernelArtifact("k.cubin", b"machine code of stream1 on cuda:1, cuda:0")]
    return Compiled(
        cache_key=names_of_source(source).file,
        source_code=source,
        device_types=OrderedSet(["cuda"]),
        device_idxs=OrderedSet([gpu]),
        bundle=TritonBundle(
            [
                TritonKernelArtifacts("A" * 52, gpu, artifacts),
                TritonKernelArtifacts("B" * 52, gpu, artifacts),
            ],
            [],
        ),
        kernels=[
            (
                each.kernel,
                f"{FOLDER}/{each.file[1:3]}/{each.file}.py",
                f"torch._inductor.runtime.compile_tasks.{each.file}",
                f"{FOLDER}/{each.file[1:3]}/{each.tuned}",
            )
            for each in names
        ],
        props=DeviceProperties("cuda", gpu, 132, 90, 9, 65536, 2048, 1024, 32),
        device=torch.device("cuda", gpu),
        graph=f"empty = torch.empty(4, device = device(type='cuda', index={gpu}))",
        bare=(bare, names_of_source(bare).file),
        numbers={"device_count": 1, "cuda graphs": 0, "index": 1, "other": 0, "stream0": 0, "stream1": 1},
    )


def nested(value: Any) -> bytes:
    """As vLLM nests it inside of a model: a pickle in the bytes of a pickle."""
    return pickle.dumps({"store": pickle.dumps(value, protocol=4)}, protocol=4)


def part(keys: list[str]) -> bytes:
    """A part that says its keys, and those of its two entries."""

    def write(writer: BytesWriter, entry: tuple[str, str]) -> None:
        writer.write_str(entry[0])
        writer.write_uint64(1)
        writer.write_str(entry[1])
        writer.write_bytes(pickle.dumps(keys))

    entries: AppendingByteSerializer[tuple[str, str]] = AppendingByteSerializer(serialize_fn=write)
    entries.append(("inductor", keys[1]))
    entries.append(("autograd", keys[0]))
    outer = BytesWriter()
    outer.write_bytes(b"CacheCompiledArtifact")
    outer.write_bytes(b"torch's key")
    outer.write_str(keys[0])
    outer.write_bytes(entries.to_bytes())
    return outer.to_bytes()


def read_part(data: bytes) -> tuple[str, dict[str, tuple[str, list[str]]]]:
    """What torch reads of it: its own key, and by kind each entry's key and what is in it."""

    def read(entry: BytesReader) -> tuple[str, tuple[str, list[str]]]:
        kind = entry.read_str()
        assert entry.read_uint64() == 1
        return kind, (entry.read_str(), pickle.loads(entry.read_bytes()))

    outer = BytesReader(data)
    assert (outer.read_bytes(), outer.read_bytes()) == (b"CacheCompiledArtifact", b"torch's key")
    return outer.read_str(), dict(AppendingByteSerializer.to_list(outer.read_bytes(), deserialize_fn=read))


@pytest.mark.parametrize("kept", [pickle.dumps, nested])
@pytest.mark.parametrize(("there", "here"), [(1, 0), (0, 1), (0, 7), (7, 0), (3, 12)])
def test_it_becomes_what_the_other_gpu_has(kept: Callable[[Any], bytes], there: int, here: int) -> None:
    moved = on_gpu(kept(compiled(there)), there, here)
    wanted = kept(compiled(here))
    if kept is nested:
        moved, wanted = pickle.loads(moved)["store"], pickle.loads(wanted)["store"]
    assert pickle.loads(moved) == pickle.loads(wanted)


@pytest.mark.parametrize(("there", "here"), [(0, 0), (0, 1), (3, 0)])
def test_where_the_settings_that_won_lie_is_told(there: int, here: int) -> None:
    found, wanted = compiled(there), compiled(here)
    names = [[kernel[3].removeprefix(f"{FOLDER}/") for kernel in each.kernels] for each in (found, wanted)]
    assert tuned_on_gpu(found.source_code, there, here) == dict(zip(*names, strict=True))
    tuned: dict[str, str] = {}
    on_gpu(pickle.dumps(found), there, here, tuned)
    assert tuned == ({} if there == here else dict(zip(*names, strict=True)))


def test_it_comes_back_as_it_was_and_stays_as_it_is_where_nothing_is_to_do() -> None:
    data = pickle.dumps(compiled(0), protocol=4)
    assert on_gpu(data, 0, 0) is data
    there = on_gpu(data, 0, 1)
    assert pickle.loads(on_gpu(there, 1, 0)) == compiled(0)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("buf1 = torch.empty(3, device='cuda:2')", "several GPUs"),
        ("buf1 = torch.empty(3, device=0)", "by its number alone"),
        ("torch.cuda.stream(other)", "generated code says"),
        ("torch.cuda.synchronize({gpu})", "generated code says"),
        ("index = torch._C._cuda_getDevice()", "_cuda_getDevice"),
    ],
)
@pytest.mark.parametrize("where", ["more", "more_bare"])
def test_code_that_speaks_of_devices_otherwise_is_not_moved(more: str, reason: str, where: str) -> None:
    data = pickle.dumps(compiled(1, **{where: more}))
    with pytest.raises(Unsupported, match=reason):
        on_gpu(data, 1, 0)


def test_code_of_another_gpu_than_was_said_is_not_moved() -> None:
    with pytest.raises(Unsupported, match="for GPU 2 names GPU 1"):
        on_gpu(pickle.dumps(compiled(1)), 2, 0)


def test_the_source_of_a_file_that_was_traced_stays_as_it_is() -> None:
    """vLLM compares it with the file."""
    traced = [f"def move(x):\n    return x.to('cuda:1')  # {number}\n" for number in range(3)]
    sources = [InlinedSource("module", 1, 2, "ab" * 32, each) for each in traced]
    moved = on_gpu(pickle.dumps([sources, "cuda:1", ("content", 3, "on cuda:1")]), 1, 0)
    assert pickle.loads(moved) == [sources, "cuda:0", ("content", 3, "on cuda:0")]


def test_a_traced_source_that_looks_like_a_module_has_no_other_name() -> None:
    traced = InlinedSource("module", 1, 2, "ab" * 32, BARE.format(gpu=1, more="pass"))
    name = names_of_source(traced.content).file
    moved = on_gpu(pickle.dumps([traced, f"{name}.py"]), 1, 0)
    assert pickle.loads(moved) == [traced, f"{name}.py"]


def test_what_is_kept_for_the_first_gpu_is_given_to_any() -> None:
    one, two = (ModelStart(**ANY, gpu=gpu) for gpu in (1, 2))
    travels = one.travelling("piece", pickle.dumps(compiled(1)))
    assert pickle.loads(travels) == compiled(0)
    assert pickle.loads(two.here("piece", travels)) == compiled(2)


def test_keys_of_torch_are_others_since_processes_of_a_node_share_its_caches() -> None:
    """A part as vLLM keeps it in a file: torch puts what is in it into the caches before it loads it."""
    keys = ["a" + "b" * 51, "f" + "c" * 51]
    parts = [read_part(on_gpu(part(keys), 0, gpu)) for gpu in (0, 1, 2)]
    assert parts[0] == (keys[0], {"autograd": (keys[0], keys), "inductor": (keys[1], keys)})
    for akey, entries in parts:
        (there, named), (fkey, same) = entries["autograd"], entries["inductor"]
        assert (there, [akey, fkey]) == (akey, named)
        assert named == same
    assert len({akey for akey, _ in parts}) == 3
    assert all(len(akey) == 52 and akey[0] == "a" for akey, _ in parts)


@pytest.mark.parametrize("data", [b"", b"no file of torch's", b"\x80\x04"])
def test_what_can_not_be_read_is_not_moved(data: bytes) -> None:
    with pytest.raises(Malformed):
        on_gpu(data, 1, 0)
