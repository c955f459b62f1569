"""Parts are rewritten without being run: other paths, no intermediate code, all else as it was."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from cubins import KERNEL, KERNEL_BLANKED, elf
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.contract.errors import Malformed
from inductory_client.integrations.cubin import without_debug_text
from inductory_client.integrations.vllm_folder.container import rewrite_container
from inductory_client.integrations.vllm_folder.normal_form import NOWHERE, normal_form, placed
from inductory_client.integrations.vllm_folder.pickles import Changes, rewrite_pickle
from torch._inductor.triton_bundler import TritonBundle, TritonKernelArtifact, TritonKernelArtifacts
from torch.utils._appending_byte_serializer import AppendingByteSerializer, BytesReader, BytesWriter

PART = "41c58af59d/rank_0_0/backbone/artifact_compile_range_1_16384_subgraph_0"
INSIDE = f"torch_aot_compile/{'ab' * 32}/inductor_cache/ko/cko.py"


@dataclass
class Tuner:
    """As torch's: it knows where the source that it was made from lies."""

    filename: str
    source_code: str
    files: Any = None


def part(content: bytes, header: bytes = b"CacheCompiledArtifact") -> bytes:
    """A part as torch writes it, with torch's own writers."""

    def write(writer: BytesWriter, entry: bytes) -> None:
        writer.write_str("inductor")
        writer.write_uint64(1)
        writer.write_str("fkey")
        writer.write_bytes(entry)

    entries: AppendingByteSerializer[bytes] = AppendingByteSerializer(serialize_fn=write)
    entries.append(content)
    outer = BytesWriter()
    outer.write_bytes(header)
    outer.write_bytes(b"torch's key")
    if header == b"CacheCompiledArtifact":
        outer.write_str("akey")
        content = entries.to_bytes()
    outer.write_bytes(content)
    return outer.to_bytes()


def content_of(data: bytes) -> bytes:
    """What torch reads back of it."""
    reader = BytesReader(data)
    assert reader.read_bytes() == b"CacheCompiledArtifact"
    assert reader.read_bytes() == b"torch's key"
    assert reader.read_str() == "akey"

    def read(entry: BytesReader) -> bytes:
        assert (entry.read_str(), entry.read_uint64(), entry.read_str()) == ("inductor", 1, "fkey")
        return entry.read_bytes()

    (content,) = AppendingByteSerializer.to_list(reader.read_bytes(), deserialize_fn=read)
    assert reader.is_finished()
    return content


def bundle() -> TritonBundle:
    files = [("k.ttir", b"ir" * 40_000), ("k.cubin", KERNEL), ("k.json", b"{}"), ("k.ptx", b"ptx")]
    artifacts = [TritonKernelArtifact(name, data) for name, data in files]
    return TritonBundle([TritonKernelArtifacts("A" * 52, 0, artifacts)], [])


@pytest.mark.parametrize("to", ["/new", "/" + "long/" * 60 + "x"])
def test_paths_are_moved_and_intermediate_code_goes(to: str) -> None:
    old = f"/old/vllm/torch_compile_cache/{INSIDE}"
    tuner = Tuner(old, f"# kernel path: {old}\ncode()", bundle())
    travelling = normal_form(PART, part(pickle.dumps(tuner, protocol=4)))
    assert normal_form(PART, travelling) == travelling
    there = placed(PART, travelling, f"{to}/torch_compile_cache")
    read = pickle.loads(content_of(there))
    assert read.filename == f"{to}/torch_compile_cache/{INSIDE}"
    assert read.source_code == tuner.source_code
    (kernel,) = read.files.kernel_artifacts
    assert {each.filename: each.payload for each in kernel.artifacts} == {
        "k.ttir": b"",
        "k.cubin": KERNEL_BLANKED,
        "k.json": b"{}",
        "k.ptx": b"",
    }
    assert normal_form(PART, there) == travelling
    assert placed(PART, travelling, NOWHERE) == travelling


def test_the_form_that_keeps_its_parts_inside_the_model_is_moved_too() -> None:
    """As vLLM nests it: a pickle of bytes in a pickle, in the store of a pickle, in a pickle."""
    old = f"/old/vllm/torch_compile_cache/{INSIDE}"
    part_inside = pickle.dumps(pickle.dumps(Tuner(old, "")))
    state = pickle.dumps({"submodule_bytes_store": {"ab": part_inside}})
    model = pickle.dumps({"compiled_fn": state, "bytecode": b"\x80\x04 no pickle"})
    there = placed(f"torch_aot_compile/{'ab' * 32}/rank_0_0/model", model, "/new/torch_compile_cache")
    read = pickle.loads(there)
    (inside,) = pickle.loads(read["compiled_fn"])["submodule_bytes_store"].values()
    assert pickle.loads(pickle.loads(inside)).filename == f"/new/torch_compile_cache/{INSIDE}"
    assert read["bytecode"] == b"\x80\x04 no pickle"


def test_a_standalone_part_of_the_other_kind_is_read() -> None:
    old = f"/old/torch_compile_cache/{INSIDE}"
    data = part(pickle.dumps(old), b"AOTCompiledArtifact")
    reader = BytesReader(placed(PART, data, "/new/torch_compile_cache"))
    assert (reader.read_bytes(), reader.read_bytes()) == (b"AOTCompiledArtifact", b"torch's key")
    assert pickle.loads(reader.read_bytes()) == f"/new/torch_compile_cache/{INSIDE}"


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.binary(max_size=300) | st.floats(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    ),
    st.sampled_from([4, 5]),
)
def test_only_what_is_changed_changes(value: Any, protocol: int) -> None:
    data = pickle.dumps([value, "the one", value, "x" * 70_000], protocol=protocol)
    assert rewrite_pickle(data, Changes(concerns=bool)) is data
    moved = rewrite_pickle(data, Changes(text=lambda before, text: "another" if text == "the one" else text))
    read = pickle.loads(moved)
    assert (read[0], read[2], read[3]) == (value, value, "x" * 70_000)
    assert read[1] == "another"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    ),
    st.sampled_from([4, 5]),
)
def test_texts_are_found_where_python_finds_them(value: Any, protocol: int) -> None:
    data = pickle.dumps([value, "text", b"bytes" * 100, value, 1 << 3000, frozenset([1])], protocol=protocol)
    seen: list[str] = []

    def see(before: str, text: str) -> str:
        seen.append(text)
        return text

    assert rewrite_pickle(data, Changes(text=see)) is data
    texts = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
    assert seen == [found for opcode, found, _ in pickletools.genops(data) if opcode.name in texts]


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04", b"\x80\x04N.more", b"not a part", part(b"x")[:-1], b"\0" * 40]
)
def test_what_is_no_part_travels_as_it_is(data: bytes) -> None:
    assert normal_form(PART, data) == data
    assert placed(PART, data, "/new/torch_compile_cache") == data


def lengthened(data: bytes) -> bytes:
    return data[:4] + (1 << 63).to_bytes(8, "big") + data[12:]


@pytest.mark.parametrize("spoil", [lambda data: data + b"!", lambda data: data[:-1], lengthened])
def test_a_damaged_container_is_malformed(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Malformed):
        rewrite_container(spoil(part(b"x")), lambda entry: entry)


def test_a_kernel_loses_its_debug_text_in_place() -> None:
    assert without_debug_text(KERNEL) == KERNEL_BLANKED
    assert normal_form(f"triton_cache/{'A' * 52}/k.cubin", KERNEL) == KERNEL_BLANKED
    assert normal_form(f"triton_cache/{'A' * 52}/k.json", KERNEL) == KERNEL


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF\x02\x01",
        elf([(b".nv_debug_ptx_txt", b"loaded", 2)]),
        elf([(b".nv_debug_ptx_txt", b"x", 0)])[:-70],
        elf([(b".text", b"x", 0)]).replace(b"\x7fELF\x02", b"\x7fELF\x01"),
    ],
)
def test_what_is_laid_out_otherwise_stays(data: bytes) -> None:
    assert without_debug_text(data) == data
