"""The parts list, letter by letter as vLLM 0.26 wrote it for Qwen3-1.7B."""

from __future__ import annotations

import ast
import base64

import pytest
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Malformed
from inductory_client.contract.manifest import Manifest, ManifestEntry
from inductory_client.contract.shape import Shape
from inductory_store.operations.cursor import cursor_at, place_of
from inductory_store.operations.parts_list import parts_text
from store_messages import artifact, descriptor, manifest

FOLDER = "/srv/cache/vllm/torch_compile_cache/41c58af59d/rank_0_0/backbone"
KEYS = {
    0: "a5vsrddzrcy4umt3bz7koakl2up6274privtuzlxq4dkfe3apz7m",
    1: "afgc2ow4jq2pjilqd2zswiia4fhm2zhhzdd3muktxncsa3m7jss5",
    28: "a2nbdkopmg526fslyudvbkupn7pay7ac3d6fgkjtaig225fsos65",
}
NEWER = f"""\
{{   ((1, 16384), 0, 'inductor_standalone'): {{   'cache_key': '{KEYS[0]}',
                                                'graph_handle': (   'artifact_compile_range_1_16384_subgraph_0',
                                                                    '{FOLDER}/artifact_compile_range_1_16384_subgraph_0')}},
    ((1, 16384), 1, 'inductor_standalone'): {{   'cache_key': '{KEYS[1]}',
                                                'graph_handle': (   'artifact_compile_range_1_16384_subgraph_1',
                                                                    '{FOLDER}/artifact_compile_range_1_16384_subgraph_1')}},
    ((1, 16384), 28, 'inductor_standalone'): {{   'cache_key': '{KEYS[28]}',
                                                 'graph_handle': (   'artifact_compile_range_1_16384_subgraph_28',
                                                                     '{FOLDER}/artifact_compile_range_1_16384_subgraph_28')}}}}\
"""  # noqa: E501


def parts(named: bool) -> tuple[Manifest, dict[str, Artifact]]:
    artifacts = {
        index: artifact(
            [
                descriptor(
                    b"payload", name=f"artifact_compile_range_1_16384_subgraph_{index}" if named else ""
                )
            ],
            scheme_key=key,
        )
        for index, key in KEYS.items()
    }
    entries = tuple(
        ManifestEntry(
            shape=(1, 16384), submodule_index=index, backend="inductor_standalone", artifact=each.key
        )
        for index, each in artifacts.items()
    )
    found = Manifest(
        scheme="vllm",
        graph_digest=digest_of(b"g"),
        guards_digest=digest_of(b""),
        submodules=57,
        entries=entries,
    )
    return found, {each.key: each for each in artifacts.values()}


@pytest.mark.parametrize("named", [True, False])
def test_the_newer_form_is_what_vllm_wrote(named: bool) -> None:
    assert parts_text(*parts(named), "newer", FOLDER) == NEWER


def test_the_older_form() -> None:
    read = ast.literal_eval(parts_text(*parts(True), "older", "/x/"))
    assert read == {
        (None, index, "inductor_standalone"): (key, f"/x/artifact_compile_range_1_16384_subgraph_{index}")
        for index, key in KEYS.items()
    }


def of_shapes(*shapes: Shape) -> tuple[Manifest, dict[str, Artifact]]:
    artifacts = [artifact([descriptor(b"payload")], f"graph {shape}", shape=shape) for shape in shapes]
    entries = tuple(
        ManifestEntry(shape=each.subject.shape, submodule_index=0, backend="inductor", artifact=each.key)
        for each in artifacts
    )
    return manifest([], entries=entries), {each.key: each for each in artifacts}


def test_fixed_sizes_and_any_shape_in_both_forms() -> None:
    found = of_shapes(8, None)
    assert set(ast.literal_eval(parts_text(*found, "newer", ""))) == {
        ((8, 8), 0, "inductor"),
        (None, 0, "inductor"),
    }
    assert set(ast.literal_eval(parts_text(*found, "older", ""))) == {
        (8, 0, "inductor"),
        (None, 0, "inductor"),
    }


def test_the_older_form_cannot_tell_two_ranges_apart() -> None:
    found = of_shapes((1, 8), (9, 16))
    assert len(ast.literal_eval(parts_text(*found, "newer", ""))) == 2
    with pytest.raises(Malformed, match="two parts"):
        parts_text(*found, "older", "")


def test_cursors_come_back_and_others_are_refused() -> None:
    place = ("a", "b", 3)
    assert place_of(cursor_at(place, "who?"), tuple[str, str, int], "who?") == place
    assert place_of(None, tuple[str, str, int], "who?") is None
    nested = base64.urlsafe_b64encode(b"[" * 3000).decode()
    for text in ("", "x", "%%%", "W10", nested, cursor_at(["a"], "who?"), cursor_at([1, 2, 3], "who?")):
        with pytest.raises(Malformed, match="gave"):
            place_of(text, tuple[str, str, int], "who?")
    with pytest.raises(Malformed, match="another question"):
        place_of(cursor_at(place, "who?"), tuple[str, str, int], "where?")
