"""Signatures: what is known of a call before it is captured, and which calls a signature is for."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import msgspec
import pytest
import torch
from inductory_client.contract.errors import LoadFailed
from inductory_client.graph.dispatch import facts
from inductory_client.graph.dispatch.container import MAGIC, Header, pack, unpack
from inductory_client.graph.dispatch.signature import VARIES, Signature, call_of


def signature(*shape: int, **keywords: Any) -> Signature:
    return call_of((), {"x": torch.zeros(*shape), **keywords}).signature


def test_a_call_fits_itself_alone() -> None:
    one = signature(2, 5)
    assert one.fits(signature(2, 5))
    others = [
        signature(2, 6),
        signature(2, 5, y=1),
        signature(2, 5, 1),
        signature(2, 5, x=torch.zeros(2, 5).int()),
    ]
    assert not any(map(one.fits, others))


def test_values_and_structure_are_part_of_it() -> None:
    for one, other in ((1, 2), (1, True), (1, 1.0), ([1], (1,)), ({"a": 1}, {"a": 2}), (None, 0)):
        assert signature(2, y=one) != signature(2, y=other)
    assert signature(2, y=torch.float32) != signature(2, y=torch.float16)


def test_a_tensor_that_is_given_twice_is_told_from_two() -> None:
    x = torch.zeros(3)
    assert call_of((x, x), {}).signature != call_of((x, x.clone()), {}).signature


def test_objects_are_described_by_what_they_hold() -> None:
    class Cache:
        def __init__(self, length: int) -> None:
            self.keys, self.itself = [torch.zeros(1, length)], self

    one, other = call_of((Cache(3),), {}), call_of((Cache(4),), {})
    assert one.signature.tree == other.signature.tree
    assert [kind.dimensions for kind in one.signature.tensors] == [(1, 3)]
    assert other.signature.varied(one.signature) is not None


def test_lengths_that_differ_vary() -> None:
    varied = signature(2, 5).varied(signature(2, 9))
    assert varied is not None
    assert varied.tensors[0].dimensions == (2, VARIES)
    assert varied.fits(signature(2, 700))
    assert not varied.fits(signature(2, 1)), "code for one is other code"
    assert not varied.fits(signature(3, 9))
    both = varied.varied(signature(3, 9))
    assert both is not None
    assert both.tensors[0].dimensions == (VARIES, VARIES)


def test_nothing_varies_where_more_than_lengths_differs() -> None:
    assert signature(2, 5).varied(signature(2, 5)) is None
    assert signature(2, 5).varied(signature(2, 9, y=1)) is None
    assert signature(2, 5).varied(signature(1, 5)) is None, "lengths of 1 stay as they are"


def test_asked_and_marked_lengths_vary_in_their_range() -> None:
    x = torch.zeros(2, 5)
    assert call_of((x,), {}, {id(x): {1: (2, 64)}}).signature.tensors[0].dimensions == (2, (2, 64))
    torch._dynamo.mark_dynamic(x, 0, min=2, max=8)
    torch._dynamo.mark_dynamic(x, 1)
    call = call_of((x,), {})
    assert call.signature.tensors[0].dimensions == ((2, 8), VARIES)
    assert call.lengths.tensors[0].dimensions == (2, 5)
    assert call.marks(call.signature) == [], "marked already"


@pytest.mark.parametrize(
    ("one", "shape"),
    [
        (call_of((torch.zeros(2, 5, dtype=torch.int64),), {}).signature, 10),
        (signature(2, 5), None),
        (signature(2, 5).varied(signature(2, 9)), (2, None)),
    ],
)
def test_the_shape_is_the_range_or_the_size(one: Signature, shape: Any) -> None:
    assert one.shape == shape


def header() -> Header:
    varied = signature(2, 5).varied(signature(2, 9))
    assert varied is not None
    return Header(
        name="f",
        signature=varied,
        devices=("cpu",),
        sources={"module": "0" * 64},
        classes={},
        operators=(),
        globals={"builtins": None},
        graph="graph",
        outer={"inputs": [], "nodes": [], "outputs": {"list": []}},
        parts={},
    )


def test_a_container_comes_back_as_it_was() -> None:
    data = pack(header(), b"payload")
    assert unpack(data) == (header(), b"payload")
    assert pack(header(), b"payload") == data


@pytest.mark.parametrize("cut", [0, 4, len(MAGIC), len(MAGIC) + 2, 40])
def test_a_container_cut_short_is_told(cut: int) -> None:
    with pytest.raises(LoadFailed):
        unpack(pack(header(), b"payload")[:cut])


def test_whatever_is_wrong_with_a_container_is_told() -> None:
    data, damaged = pack(header(), b"payload"), random.Random(0)
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(damaged.randint(1, 6)):
            changed[damaged.randrange(len(changed))] = damaged.randrange(256)
        with contextlib.suppress(LoadFailed):
            unpack(bytes(changed))
    deep = b"[" * 100_000 + b"]" * 100_000
    encoded = msgspec.json.encode(header()).replace(b'"outer":{', b'"outer":' + deep + b',"more":{')
    with pytest.raises(LoadFailed):
        unpack(MAGIC + len(encoded).to_bytes(4, "big") + encoded)


def test_a_header_with_more_in_it_is_told() -> None:
    encoded = msgspec.json.encode(msgspec.to_builtins(header()) | {"more": 1})
    with pytest.raises(LoadFailed, match="header"):
        unpack(MAGIC + len(encoded).to_bytes(4, "big") + encoded)


def _one(x: int) -> int:
    return x + 1


def test_functions_are_told_apart_by_what_they_do() -> None:
    def two(x: int) -> int:
        return x + 1

    described = [facts.describe(function) for function in (_one, two, len, torch.nn.functional.silu)]
    assert len({repr(item) for item in described}) == 4
    assert facts.code_digest(_one.__code__) == facts.code_digest(_one.__code__.replace(co_firstlineno=99))
    changed = _one.__code__.replace(
        co_consts=tuple(2 if item == 1 else item for item in _one.__code__.co_consts)
    )
    assert facts.code_digest(_one.__code__) != facts.code_digest(changed)


@pytest.mark.parametrize("value", [object(), torch.zeros(2), [object()], {"a": 1}])
def test_what_another_process_cannot_compare_has_no_description(value: Any) -> None:
    assert facts.describe(value) is None
