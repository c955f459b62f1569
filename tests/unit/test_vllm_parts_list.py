"""The parts list is read as a literal in both of vLLM's forms, and moved without touching another byte."""

from __future__ import annotations

import ast
import pprint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.contract.errors import Malformed
from inductory_client.integrations.vllm_folder.parts_list import (
    Part,
    complete_parts_list,
    parse_parts_list,
    relocate_parts_list,
)

NEWER = {
    ((1, 16384), 0, "inductor_standalone"): {
        "graph_handle": ("part_0", "/old/h/rank_0_0/b/part_0"),
        "cache_key": "a1",
    },
    ((1, 16384), 28, "inductor_standalone"): {"graph_handle": None, "cache_key": "a2"},
    (8, 1, "inductor_standalone"): {
        "cache_key": "a3",
        "graph_handle": ("part_1", "/old/h/rank_0_0/b/part_1"),
    },
}
OLDER = {(None, 0, "inductor"): ("fhash", "/old/h/rank_0_0/inductor_cache/ab/cab.py")}


def text(value: object) -> bytes:
    return pprint.pformat(value, indent=4).encode()


def test_the_newer_form() -> None:
    parts = {part.cache_key: part for part in parse_parts_list(text(NEWER))}
    assert parts == {
        "a1": Part((1, 16384), 0, "inductor_standalone", "a1", "/old/h/rank_0_0/b/part_0"),
        "a2": Part((1, 16384), 28, "inductor_standalone", "a2", None),
        "a3": Part(8, 1, "inductor_standalone", "a3", "/old/h/rank_0_0/b/part_1"),
    }


def test_the_older_form() -> None:
    (part,) = parse_parts_list(text(OLDER))
    assert part == Part(None, 0, "inductor", "fhash", "/old/h/rank_0_0/inductor_cache/ab/cab.py")


def test_an_empty_list_has_no_parts() -> None:
    assert parse_parts_list(b"{}") == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"\0",
        b"{(None, 0, 'inductor'): 7}",
        b"{(None, 0): ('a', '/b')}",
        b"{(None, -1, 'inductor'): ('a', '/b')}",
        b"{(None, 0, 'not a backend'): ('a', '/b')}",
        b"{(None, 0, 'inductor'): {'graph_handle': None}}",
        b"{**{}}",
        b"{(None, 0, 'inductor'): __import__('os').system('true')}",
        b"{(None, 0, 'inductor'): ('a', '/b' + '/c')}",
        b"(" * 100_000,
        b"-" * 100_000 + b"1",
    ],
)
def test_what_is_not_a_parts_list_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_parts_list(data)


def test_nothing_in_it_runs(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    data = f"{{(None, 0, 'inductor'): ('a', open({str(witness)!r}, 'w').name)}}".encode()
    with pytest.raises(Malformed):
        parse_parts_list(data)
    with pytest.raises(Malformed):
        relocate_parts_list(data, lambda path: path)
    assert not witness.exists()


@pytest.mark.parametrize("value", [NEWER, OLDER])
def test_moving_changes_the_paths_and_nothing_else(value: object) -> None:
    before = text(value)
    assert relocate_parts_list(before, lambda path: path) == before
    moved = relocate_parts_list(before, lambda path: path.replace("/old/", "/a/new place/"))
    assert moved == before.replace(b"'/old/", b"'/a/new place/")


def test_a_path_that_is_spelt_in_pieces_moves_too() -> None:
    data = "{(None, 0, 'inductor'): ('kéy', # where?\r\n '/old/a '\r\n 'b')}".encode()
    assert relocate_parts_list(data, lambda path: path.replace("/old/", "/new/")) == (
        "{(None, 0, 'inductor'): ('kéy', # where?\r\n '/new/a b')}".encode()
    )


@given(st.lists(st.text(min_size=1, max_size=20).map(lambda name: "/old/" + name), max_size=5))
def test_any_path_survives_a_move_and_back(paths: list[str]) -> None:
    paths = [path.encode("utf-8", "replace").decode() for path in paths]
    value = {(None, index, "inductor"): ("key", path) for index, path in enumerate(paths)}
    before = text(value)
    moved = relocate_parts_list(before, lambda path: "/new/" + path.removeprefix("/old/"))
    assert [part.path for part in parse_parts_list(moved)] == [
        "/new/" + part.path.removeprefix("/old/") for part in parse_parts_list(before) if part.path
    ]


ONE_BACKEND = {key: value for key, value in NEWER.items() if key[0] != 8}
OTHERS = {((1, 16384), 0): "a1", ((1, 16384), 1): "a1", ((1, 16384), 2): "a1", ((1, 16384), 28): "a2"}


@pytest.mark.parametrize(
    "data",
    [
        text(ONE_BACKEND),
        text(ONE_BACKEND) + b"\n",
        text(ONE_BACKEND)[:-1] + b",\n}\n",
        repr(ONE_BACKEND).encode(),
    ],
)
def test_submodules_of_the_same_code_are_listed_too(data: bytes) -> None:
    completed = ast.literal_eval(complete_parts_list(data, OTHERS).decode())
    shared = ONE_BACKEND[(1, 16384), 0, "inductor_standalone"]
    more = {((1, 16384), index, "inductor_standalone"): shared for index in (1, 2)}
    assert completed == ONE_BACKEND | more


@pytest.mark.parametrize(
    "keys",
    [{}, {((1, 16384), 0): "a1"}, {((1, 16384), 1): "of nothing that is listed"}, {((1, 8), 1): "a1"}],
    ids=["none", "listed", "another key", "another range"],
)
def test_a_list_with_nothing_to_add_stays_as_it_is(keys: dict[Any, str]) -> None:
    data = text(ONE_BACKEND)
    assert complete_parts_list(data, keys) == data


def test_the_older_form_is_completed_as_well() -> None:
    completed = complete_parts_list(text(OLDER), {(None, 1): "fhash"})
    assert ast.literal_eval(completed.decode()) == OLDER | {(None, 1, "inductor"): OLDER[None, 0, "inductor"]}
