"""Guards put away and brought back: torch's own state of them, written so that equal captures give equal
bytes, and nothing of a process gets into it.
"""

# mypy: disable-error-code="attr-defined,no-untyped-call,method-assign,misc"

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import functools
import io
import pickle
import types
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import torch

from inductory_client.graph.unsupported import Unsupported

from .whole import WholeGraph

Keep = Callable[["GuardSeen"], bool]


@dataclasses.dataclass(frozen=True)
class GuardSeen:
    """A guard, while it is decided what becomes of it."""

    kind: str
    """As torch calls it: `TENSOR_MATCH`."""
    kinds: frozenset[str]
    """What it became when it was built, its own kind included."""
    name: str
    """The expression that leads to what it guards; empty for a state of the process."""
    source: Any
    parameter: Any
    """What it asks for beside the value itself: a key, the name of an attribute, another source."""
    root: str | None
    """The global that the expression begins with."""


@dataclasses.dataclass
class PutAway:
    """What brings captured code and its guards back: pickled by `put_away`, read by `read`."""

    state: Any
    facts: Any
    code: Any


def put_away(
    graph: WholeGraph,
    keep: Keep,
    facts: Callable[[], Any],
    renamed: Mapping[str, str],
    left_out: Set[int],
) -> bytes:
    """Return the pickle of the guards that `keep` keeps, of `facts()` and of the code.

    `renamed` are names of globals that hold addresses or counters, and what they are called instead;
    `left_out` the ids of objects that don't belong to the model. Raises Unsupported where torch can't.
    """
    from torch._dynamo.exc import PackageError
    from torch._dynamo.guards import CheckFunctionManager
    from torch._dynamo.hooks import Hooks
    from torch._dynamo.package import SerializedCode

    kept: list[Any] = []

    def decide(entries: Sequence[Any]) -> list[bool]:
        return [keep(_seen(entry)) for entry in entries]

    def pickler(*arguments: Any) -> _StatePickler:
        return _StatePickler(*arguments, renamed=renamed, left_out=left_out, kept=kept)

    _stock_pickler()  # looked up before it is replaced
    try:
        with (
            _replaced(torch._dynamo.guards, "GuardsStatePickler", pickler),
            # Guards by identity come back too: what they hold is by reference, and is compared before.
            _replaced(CheckFunctionManager, "UNSUPPORTED_SERIALIZATION_GUARD_TYPES", ()),
        ):
            graph.build_guards(hooks=Hooks(guard_filter_fn=decide), save=True, strict_error=True)
        state, writer = kept[0]
        state.output_graph.global_scope = {}  # all of it is by reference
        gathered = facts()
        code = SerializedCode.from_code_object(_plain(graph.code(), renamed))
        return writer.finish(PutAway(state, gathered, code))  # type: ignore[no-any-return]
    except (PackageError, pickle.PicklingError, TypeError, AttributeError) as error:
        raise Unsupported(f"torch can't put its guards away: {error}") from error


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def read(payload: bytes) -> PutAway:
    """Unpickle what `put_away` wrote. RUNS CODE: only for bytes that a trusted signer vouched for."""
    found: PutAway = pickle.loads(payload)  # noqa: S301
    return found


def bring_back(
    found: PutAway, function: Callable[..., Any], scope: dict[str, Any]
) -> tuple[Any, types.CodeType]:
    """Return the guard manager and the code; `scope` are the globals that both use."""
    from torch._dynamo.package import SerializedCode, load_guard_manager

    found.state.output_graph.global_scope = scope
    manager = load_guard_manager(found.state, _code_of(function), scope)
    return manager, SerializedCode.to_code_object(found.code)


def _code_of(function: Callable[..., Any]) -> types.CodeType:
    code: types.CodeType = function.__code__
    return code


class Values:
    """What sources lead to, in a call at hand."""

    def __init__(self, local_scope: Mapping[str, Any], global_scope: Mapping[str, Any]) -> None:
        from torch._dynamo.guards import _get_closure_vars

        self._scope = {"L": local_scope, "G": global_scope, "__builtins__": vars(builtins)}
        self._helpers = _get_closure_vars()
        self._known: dict[Any, Any] = {}

    def of(self, source: Any) -> Any:
        """Evaluate a source, as torch does. Raises whatever looking it up raises."""
        return source.get_value(self._scope, self._helpers, self._known)


def bases(source: Any) -> Iterator[Any]:
    """Yield what a source starts from, nearest first, and not the source itself."""
    while (source := getattr(source, "base", None)) is not None:
        yield source


_FROM_NUMPY = "___from_numpy"


def _seen(entry: Any) -> GuardSeen:
    from torch._dynamo.source import get_global_source_name

    guard = entry.orig_guard
    if str(guard.name).startswith(_FROM_NUMPY):  # torch loses sight of it in its own pickle
        raise Unsupported(f"{guard.name[len(_FROM_NUMPY) :]} is of NumPy")
    parameter = None
    if isinstance(guard.create_fn, functools.partial):
        given = [*guard.create_fn.args, *guard.create_fn.keywords.values()]
        parameter = given[0] if given else None
    source = guard.originating_source
    root = get_global_source_name(source)
    return GuardSeen(
        kind=str(entry.guard_type),
        kinds=frozenset({str(entry.guard_type), *entry.derived_guard_types}),
        name=str(guard.name),
        source=source,
        parameter=parameter,
        root=root,
    )


def global_root(source: Any) -> str | None:
    """Return the name of the global that a source begins with; None for others, and for what is no source."""
    from torch._dynamo.source import get_global_source_name

    return get_global_source_name(source) if isinstance(source, torch._guards.Source) else None


def _plain(code: types.CodeType, renamed: Mapping[str, str]) -> types.CodeType:
    """Return code without the names of files and with globals renamed."""
    return code.replace(
        co_names=tuple(renamed.get(name, name) for name in code.co_names),
        co_filename=f"<inductory {code.co_name}>",
        co_consts=tuple(
            _plain(item, renamed) if isinstance(item, types.CodeType) else item for item in code.co_consts
        ),
    )


# As in the C pickler, which asks `reducer_override` about neither.
_BUILT_IN = frozenset({type(None), bool, int, float, str, bytes, bytearray, tuple, list, dict})
_MARKS = ("_dynamo_dynamic_indices", "_dynamo_weak_dynamic_indices")
_ALL_MARKS = (*_MARKS, "_dynamo_dynamic_range", "_dynamo_hint_overrides", "_specialize_on",
              "_has_dynamo_dim_marking")  # fmt: skip


class _StatePickler(pickle._Pickler):
    """torch's pickler of guards, but equal strings, sources and flat tuples are one object, sets have an
    order, and what is only there for messages stays away.
    """

    def __init__(
        self,
        tree: dict[int, Any],
        empty: dict[int, Any],
        missing: dict[int, Any],
        file: io.BytesIO,
        *,
        renamed: Mapping[str, str],
        left_out: Set[int],
        kept: list[Any],
    ) -> None:
        super().__init__(file, 5)
        self._stock = _stock_pickler()(tree, empty, missing, io.BytesIO())
        self._file = file
        self._renamed = renamed
        self._left_out = left_out
        self._kept = kept
        self._shared: dict[tuple[type, Any], Any] = {}
        self._alive: list[Any] = []

    def dump(self, state: Any) -> None:
        """Only remember it: the code and the facts go into the same pickle."""
        self._kept.append((state, self))

    def finish(self, whole: PutAway) -> bytes:
        super().dump(whole)
        return self._file.getvalue()

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if type(obj) is str:
            obj = self._renamed.get(obj, obj)
            obj = self._shared.setdefault((str, obj), obj)
        elif type(obj) is bytes or isinstance(obj, torch._guards.Source):
            obj = self._shared.setdefault((type(obj), obj), obj)
        elif type(obj) is tuple and all(type(item) in (str, int, bool, float, type(None)) for item in obj):
            obj = self._shared.setdefault((tuple, repr(obj)), obj)
        super().save(obj, save_persistent_id)

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) in _BUILT_IN:
            return NotImplemented
        if id(obj) in self._left_out:
            return torch._dynamo.guards._Missing, ("left out",)
        if type(obj) in (set, frozenset):
            return type(obj), (self._keep(sorted(obj, key=_place)),)
        if isinstance(obj, torch._guards.Guard):
            return torch._guards.Guard, (obj.originating_source, obj.create_fn)
        if isinstance(obj, torch._guards.Source):
            fields = (field for field in dataclasses.fields(obj) if field.init)
            return type(obj), self._keep(tuple(getattr(obj, field.name) for field in fields))
        reduced = self._stock.reducer_override(obj)
        if isinstance(obj, torch.Tensor) and reduced is not NotImplemented and len(reduced[1]) == 5:
            marks = {name: sorted(getattr(obj, name)) for name in _MARKS if hasattr(obj, name)}
            return _tensor, self._keep((*reduced[1], marks))
        return self._keep(reduced)

    def _keep(self, made: Any) -> Any:
        """Keep what was made for the pickle alive: its memo goes by address."""
        self._alive.append(made)
        return made


@functools.cache
def _stock_pickler() -> Any:
    from torch._dynamo.guards import GuardsStatePickler

    return GuardsStatePickler


def _place(item: Any) -> str:
    return str(item.name) if isinstance(item, torch._guards.Source) else repr(item)


def _tensor(
    meta: torch.Tensor, device: Any, kind: type, keys: int, grad: Any, marks: dict[str, list[int]]
) -> torch.Tensor:
    """As torch's, and marked as it was: a tensor that is marked again then passes the guard."""
    made: torch.Tensor = _stock_pickler()._unpickle_tensor(meta, device, kind, keys, grad)
    for name, dimensions in marks.items():
        setattr(made, name, set(dimensions))
    return made


@contextlib.contextmanager
def marked(dimensions: Sequence[tuple[torch.Tensor, int, tuple[int, int | None] | None]]) -> Iterator[None]:
    """Mark dimensions of tensors as dynamic for as long as the block lasts: in a range, which must then hold,
    or for None as far as the code allows.
    """
    before = [
        (tensor, {name: _copied(vars(tensor)[name]) for name in _ALL_MARKS if name in vars(tensor)})
        for tensor, _, _ in dimensions
    ]
    try:
        for tensor, dimension, interval in dimensions:
            if interval is None:
                torch._dynamo.maybe_mark_dynamic(tensor, dimension)
            else:
                low, high = interval
                least = None if high is None and low <= 2 else low
                torch._dynamo.mark_dynamic(tensor, dimension, min=least, max=high)
        yield
    finally:
        for tensor, marks in reversed(before):
            for name in _ALL_MARKS:
                vars(tensor).pop(name, None)
            vars(tensor).update(marks)


def marks_of(tensor: torch.Tensor) -> dict[int, tuple[int, int | None] | None]:
    """Return the dimensions that the caller marked as dynamic, with their ranges where they were given."""
    ranges = {
        mark.dim: (mark.min or 0, mark.max)
        for mark in getattr(tensor, "_dynamo_dynamic_range", ())
        if mark.min is not None or mark.max is not None
    }
    return {place: ranges.get(place) for place in sorted(getattr(tensor, "_dynamo_dynamic_indices", ()))}


def address_of(tensor: torch.Tensor) -> int:
    """Return where the memory begins that a tensor is a view of; 0 for one that has none of its own."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse, fake, wrapped
        return 0


def _copied(value: Any) -> Any:
    return type(value)(value) if isinstance(value, (set, dict)) else value
