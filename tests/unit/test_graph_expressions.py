"""Sizes and graphs as plain JSON: nothing is lost, and nothing in them is ever evaluated."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from inductory_client.graph.canonical import Form, canonicalise
from inductory_client.graph.expressions import SymbolNames, decode
from inductory_client.graph.operators import function_by_name, function_name, method_name
from inductory_client.graph.unsupported import Unsupported
from inductory_compiler.rebuild import rebuild
from torch.utils._sympy.functions import FloorDiv, Max, Min, Mod, ModularIndexing
from torch_capturing import captured_graph
from torch_models import decoder, token_ids, values

S, T = (sympy.Symbol(name, positive=True, integer=True) for name in ("s7", "s90"))
SYMBOLS = st.sampled_from([S, T])
NUMBERS = st.integers(1, 4096)


def sizes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: a * b, inner, inner),
        st.builds(FloorDiv, inner, NUMBERS),
        st.builds(Mod, inner, NUMBERS),
        st.builds(
            lambda a, n, m: ModularIndexing(a, sympy.Integer(n), sympy.Integer(m)), inner, NUMBERS, NUMBERS
        ),
        st.builds(Max, inner, SYMBOLS),
        st.builds(Min, inner, SYMBOLS),
    )


SIZES = st.recursive(st.one_of(SYMBOLS, NUMBERS.map(sympy.Integer)), sizes, max_leaves=8)
# Differences and fractions only outside: torch's own functions take neither.
OUTER = st.one_of(SIZES, st.builds(lambda a, n, m: (a - n) / m, SIZES, NUMBERS, NUMBERS))
CONDITIONS = st.builds(
    lambda kind, a, b: kind(a, b),
    st.sampled_from([sympy.Eq, sympy.Ne, sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge]),
    OUTER,
    OUTER,
).filter(lambda condition: condition not in (sympy.true, sympy.false))


@given(st.one_of(OUTER, CONDITIONS))
def test_what_is_encoded_is_decoded(expression: Any) -> None:
    names = SymbolNames()
    encoded = json.loads(json.dumps(names.encode(expression)))
    symbols = {names.name(symbol): symbol for symbol in names.symbols}
    decoded = decode(encoded, symbols)
    point = {S: sympy.Integer(37), T: sympy.Integer(1009)}
    assert decoded.xreplace(point) == expression.xreplace(point)
    again = SymbolNames()
    for symbol in names.symbols:
        again.name(symbol)
    assert again.encode(decoded) == encoded


@given(OUTER)
def test_what_symbols_are_called_does_not_matter(expression: Any) -> None:
    renamed = {
        S: sympy.Symbol("s900", positive=True, integer=True),
        T: sympy.Symbol("a1", positive=True, integer=True),
    }
    one, other = SymbolNames(), SymbolNames()
    for symbol in (S, T):
        one.name(symbol)
        other.name(renamed[symbol])
    assert one.encode(expression) == other.encode(expression.xreplace(renamed))


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(), st.sampled_from(["z0", "Add"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(), inner, max_size=2),
        st.builds(
            lambda name, arguments: [name, *arguments],
            st.sampled_from(["Add", "Mul", "FloorDiv", "Mod", "Rational", "Max", "Equality", "Where", "Not"]),
            st.lists(inner, max_size=3),
        ),
    ),
    max_leaves=10,
)


@given(JSON)
def test_decoding_refuses_or_returns_an_expression(encoded: Any) -> None:
    try:
        found = decode(encoded, {"z0": S})
    except Unsupported:
        return
    assert isinstance(found, sympy.Basic)


MARK = "inductory-test-mark"
ATTACK = f"__import__('os').mkdir({MARK!r})"


@pytest.mark.parametrize(
    "encoded",
    [
        ATTACK,
        ["Rational", ATTACK, 1],
        ["Rational", [ATTACK], 1],
        ["Rational", [ATTACK]],
        ["Rational", ["Add", 1, ATTACK], 1],
        ["Add", 1, [ATTACK]],
        ["Max", [ATTACK], 1],
        ["Symbol", ATTACK],
        ["sympify", ATTACK],
        ["Function", "f"],
        ["__import__", "os"],
        ["Rational", 1, 0],
        ["FloorDiv", 1, 0],
        ["Add"],
        [],
        True,
        None,
        1.5,
        "z1",
        {"Add": [1, 2]},
    ],
)
def test_hostile_sizes_are_refused_and_never_evaluated(
    encoded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unsupported):
        decode(encoded, {"z0": S})
    assert not os.path.exists(MARK)


def test_deep_nesting_is_refused() -> None:
    deep: Any = "z0"
    for _ in range(5000):
        deep = ["Not", deep]
    with pytest.raises(Unsupported):
        decode(deep, {"z0": S})


# --- graphs ---


@pytest.fixture(scope="module")
def form() -> Form:
    """The form of a layer: symbols, sizes, methods, functions and constants."""
    return captured_graph(decoder(), token_ids(16)).pieces[1].canonical.form


def test_a_rebuilt_graph_has_the_same_form(form: Form) -> None:
    """So what is compiled is what is keyed, whoever compiles it."""
    rebuilt = rebuild(json.loads(json.dumps(form)))
    assert canonicalise(rebuilt.module, rebuilt.inputs).form == form


def test_constants_travel_by_value() -> None:
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    table = graph.get_attr("table")
    graph.output(graph.call_function(torch.ops.aten.add.Tensor, (x, table)))
    forms = []
    for factor in (1.0, 1.0, 2.0):
        root = torch.nn.Module()
        root.register_buffer("table", values(3, 4) * factor)
        forms.append(canonicalise(torch.fx.GraphModule(root, graph), [values(3, 4)]))
    assert forms[0] == forms[1]
    assert forms[0].digest != forms[2].digest, "another value is another constant"
    rebuilt = rebuild(json.loads(json.dumps(forms[0].form)))
    (found,) = rebuilt.module(values(3, 4))
    assert torch.equal(found, values(3, 4) * 2)
    root = torch.nn.Module()
    root.register_buffer("table", torch.zeros(100_000))
    with pytest.raises(Unsupported, match="constant larger"):
        canonicalise(torch.fx.GraphModule(root, graph), [values(3, 4)])


EVIL_FUNCTIONS = [
    "fn:os.system",
    "fn:builtins.eval",
    "fn:torch.load",
    "fn:torch.hub.load",
    "fn:torch.from_file",
    "fn:torch.ops.load_library",
    "fn:operator.attrgetter",
    "fn:_operator.methodcaller",
    "fn:_operator.call",
    "fn:",
    "op:aten::no_such_op.default",
    "op:aten::add",
    "op:aten::__class__",
    "op:aten::add.__class__",
    "op:aten::add.Tensor|aten::add.Tensor(Tensor self) -> Tensor",
    "op:load_library::__func__",
    "op:__class__::__mro__",
    "packet:aten::add.Tensor",
    "packet:load_library::__call__",
    "eval:1",
    "",
]


@pytest.mark.parametrize("target", EVIL_FUNCTIONS)
def test_a_function_that_is_not_on_the_list_is_refused(form: Form, target: str) -> None:
    with pytest.raises(Unsupported):
        function_by_name(target)
    changed = copy.deepcopy(form)
    changed["nodes"][0] = [target, [f"mkdir {MARK}"]]
    with pytest.raises(Unsupported):
        rebuild(changed)


@pytest.mark.parametrize("name", ["__class__", "__reduce__", "_backward_hooks", "no_such", "shape", "", "T"])
def test_a_method_that_tensors_do_not_have_is_refused(form: Form, name: str) -> None:
    with pytest.raises(Unsupported):
        method_name(name)
    changed = copy.deepcopy(form)
    changed["nodes"][0] = [f"method:{name}", [{"node": 0}]]
    with pytest.raises(Unsupported):
        rebuild(changed)


def change(form: Form, *path: Any, to: Any) -> Form:
    changed = copy.deepcopy(form)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return changed


MALFORMED: dict[str, tuple[Any, ...]] = {
    "another version": ("version", 2),
    "no version": ("version", ...),
    "no inputs": ("inputs", ...),
    "no symbols": ("symbols", []),
    "a symbol without range": ("symbols", 0, "range", ...),
    "a range upside down": ("symbols", 0, "range", [9, 3]),
    "an unknown dtype": ("inputs", 0, "dtype", "float33"),
    "torch.load as a dtype": ("inputs", 0, "dtype", "load"),
    "an unknown device": ("inputs", 0, "device", "nowhere"),
    "more strides than lengths": ("inputs", 0, "stride", [1, 1, 1, 1, 1]),
    "a hostile length": ("inputs", 0, "shape", 0, ["Rational", [ATTACK], 1]),
    "a node that isn't there yet": ("nodes", 0, ["fn:_operator.neg", [{"node": 10_000}]]),
    "a node that isn't one": ("nodes", 0, 17),
    "an argument of an unknown kind": (
        "nodes",
        0,
        ["fn:_operator.neg", [{"pickle": "gASVHwAAAAAAAACMBXBvc2l4"}]],
    ),
    "a module as a dtype": ("nodes", 0, ["fn:_operator.neg", [{"dtype": "hub"}]]),
    "two kinds at once": ("nodes", 0, ["fn:_operator.neg", [{"node": 0, "float": "0x1p0"}]]),
    "a float that isn't one": ("nodes", 0, ["fn:_operator.neg", [{"float": ATTACK}]]),
    "a constant of too few bytes": ("nodes", 0, {"dtype": "float32", "shape": [9], "data": "AAAAAA=="}),
    "a constant that isn't base64": ("nodes", 0, {"dtype": "float32", "shape": [1], "data": "\x00"}),
    "a guard of an unknown function": ("guards", [["Attack", 1, 2]]),
    "no outputs": ("outputs", ...),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_graph_is_refused(
    form: Form, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    *path, to = MALFORMED[name]
    with pytest.raises(Unsupported):
        rebuild(change(form, *path, to=to))
    assert not os.path.exists(MARK)


def test_an_operator_that_opens_files_opens_none(form: Form, tmp_path: Path) -> None:
    name = function_name(torch.ops.aten.from_file.default)
    with pytest.raises(Exception, match="from_file"):
        rebuild(change(form, "nodes", 0, to=[name, [str(tmp_path / MARK), True, 10]]))
    assert not (tmp_path / MARK).exists()


# --- custom ops ---


def test_a_custom_op_of_the_same_name_and_another_schema_is_another_piece() -> None:
    digests, names = [], []
    for schema in ("(Tensor x) -> Tensor", "(Tensor x, float scale=1.0) -> Tensor"):
        with torch.library._scoped_library("inductory_schemas", "DEF") as library:
            library.define(f"scale{schema}")
            library.impl("scale", lambda x, *_: x * 2, "CPU")
            library.impl("scale", lambda x, *_: torch.empty_like(x), "Meta")
            op = torch.ops.inductory_schemas.scale.default
            digests.append(
                captured_graph(lambda x, op=op: op(x) + 1, values(2, 2)).pieces[0].canonical.digest
            )
            names.append(function_name(op))
            assert function_by_name(names[-1]) is op
            if len(names) == 2:
                with pytest.raises(Unsupported, match="another schema"):
                    function_by_name(names[0])
    assert digests[0] != digests[1]
    with pytest.raises(Unsupported, match="isn't registered"):
        function_by_name(names[0])
