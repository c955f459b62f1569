"""What is published: the same bytes whoever compiles, and nothing that this process happens to hold."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from inductory_client.contract.descriptor import NATIVE, PAYLOAD
from inductory_client.graph import torch_private
from inductory_client.graph.captured import holds_here
from inductory_client.graph.load import load_piece
from inductory_compiler import compile_piece
from inductory_compiler.pieces import compile_pieces
from inductory_compiler.rebuild import rebuild
from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table
from torch_capturing import captured_graph
from torch_cases import CASES
from torch_machine import Machine
from torch_models import heads
from torch_sessions import Compiled, Node, compile_case


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    """The layers, compiled in this process."""
    return compile_case(CASES["layers"]())


def descriptors(compiled: Compiled) -> dict[str, list[tuple[str, str, str]]]:
    return {
        draft.subject.key: [(d.media_type, d.name, d.digest) for d in draft.subject.descriptors]
        for draft in compiled.drafts
    }


def kept_by(machine: Machine) -> dict[str, list[tuple[str, str, str]]]:
    """The descriptors of what a machine has in its local CAS."""
    with Node(machine.folder).client() as client:
        return {
            artifact.key: [(d.media_type, d.name, d.digest) for d in artifact.subject.descriptors]
            for artifact in client.cas.artifacts()
        }


POISON = "import os; os.mkdir({mark!r})\n"


@pytest.fixture
def poisoned(compiled: Compiled, tmp_path: Path) -> tuple[Path, Path]:
    """An Inductor cache that has these very graphs, with code in every source file that leaves a mark."""
    folder, mark = tmp_path / "poisoned", tmp_path / "mark"
    shutil.copytree(compile_piece._private_folder(), folder)
    keys = [
        graph.cache_key
        for draft in compiled.drafts
        for blob in draft.blobs
        if blob.media_type == PAYLOAD
        for graph in torch_private.compiled_graphs(torch_private.unpickle_entry(blob.data))
    ]
    for key in keys:  # where torch would look for what was published
        (folder / key[1:3]).mkdir(exist_ok=True)
        (folder / key[1:3] / f"{key}.py").touch()
    sources = list(folder.rglob("*.py"))
    assert len(sources) > len(keys), "and what it compiled here"
    for path in sources:
        path.write_text(POISON.format(mark=str(mark)) + path.read_text())
    return folder, mark


def test_another_process_hash_seed_folder_and_first_length_make_the_same_bytes(
    compiled: Compiled, poisoned: tuple[Path, Path], tmp_path: Path
) -> None:
    """Compiled from the canonical form, for canonical lengths, in a folder that nobody else writes to."""
    folder, mark = poisoned
    machine = Machine(tmp_path / "other")
    there = machine.run("case", "layers_at_length", PYTHONHASHSEED="77", TORCHINDUCTOR_CACHE_DIR=str(folder))
    assert there.outcomes == ["compiled"], there.reasons
    assert there.results["layers_at_length"]["close"]
    assert kept_by(machine) == descriptors(compiled)
    assert not mark.exists(), "the user's own Inductor cache isn't looked at"


def test_a_stale_file_in_the_inductor_cache_is_not_run_on_a_load(
    compiled: Compiled, poisoned: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, mark = poisoned
    machine = Machine(tmp_path / "other")
    Node(machine.folder).keep(*compiled.drafts)
    there = machine.run("case", "layers", compiler=False, TORCHINDUCTOR_CACHE_DIR=str(folder))
    assert there.outcomes == ["loaded"], there.reasons
    assert machine.compiled_nothing(there)
    assert there.results["layers"]["close"]
    assert not mark.exists()


class OthersKernel:
    """A kernel of another graph of this process. Pickling it says so."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise AssertionError("another graph's kernel is pickled")


def test_kernels_of_other_graphs_are_neither_published_nor_replaced() -> None:
    """torch's table of Triton kernels is the process's, and goes with every artifact of torch's own."""
    kernel = OthersKernel()
    graph = captured_graph(lambda x: x.sin() * 3, heads())  # empties the table
    kernel_side_table.id_to_kernel[0] = kernel
    try:
        (made,) = compile_pieces(graph.unique, graph.target, {}, graph.options).values()
        assert kernel_side_table.id_to_kernel == {0: kernel}
        blobs = {blob.descriptor.digest: blob.data for blob in made.draft.blobs}
        assert not any(b"OthersKernel" in data for data in blobs.values())
        call = load_piece(made.draft.subject, blobs, graph.target)
        assert kernel_side_table.id_to_kernel == {0: kernel}
        assert torch.allclose(call(heads())[0], heads().sin() * 3)
    finally:
        kernel_side_table.id_to_kernel.clear()


def test_a_loaded_piece_returns_a_sequence_as_a_compiled_one_does(compiled: Compiled) -> None:
    """A bare tensor comes back as a list once loaded: the first of a batch would be taken for it."""
    made = compile_case(CASES["bare_tensor"]())
    (draft,) = made.drafts
    blobs = {blob.descriptor.digest: blob.data for blob in draft.blobs}
    found = load_piece(draft.subject, blobs, made.graph.target)(heads())
    assert isinstance(found, (tuple, list))
    assert [x.shape for x in found] == [heads().shape]


def test_compiling_again_in_one_process_makes_the_same_bytes(compiled: Compiled) -> None:
    compile_case(CASES["bare_tensor"]())  # another piece, with a number of its own
    assert descriptors(compile_case(CASES["layers"]())) == descriptors(compiled)


def test_conditions_that_compiling_adds_are_kept(compiled: Compiled) -> None:
    """What torch assumes of the sizes while it compiles is part of the artifact, in the form's own names."""
    form = compiled.graph.pieces[0].canonical.form
    rebuilt = rebuild(form)
    before = len(torch_private.guards_of(rebuilt.env))
    assert compile_piece._encoded_guards(rebuilt, before) == ()
    (tokens,) = rebuilt.symbols.values()
    assert torch_private.holds(rebuilt.env, tokens < 4096)
    (added,) = compile_piece._encoded_guards(rebuilt, before)
    assert added == '["StrictLessThan","z0",4096]'
    assert holds_here(compiled.graph, compiled.graph.pieces[0].key, [added])


def test_no_place_of_the_builder_is_in_what_is_published(compiled: Compiled) -> None:
    """Native files name torch's own headers where they check something; nothing else names a place."""
    torchs = str(Path(torch.__file__).parent).encode()
    folder = compile_piece._private_folder().encode()
    for draft in compiled.drafts:
        for blob in draft.blobs:
            assert folder not in blob.data, blob.media_type
            assert torchs not in blob.data or blob.media_type == NATIVE
