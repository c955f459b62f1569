"""Calls that look alike and aren't: never another's numbers, whether the first call or a later one."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from inductory_client.contract.errors import BadSettings
from inductory_client.graph.dispatch.loaded_model import LoadedModel
from inductory_client.graph.dispatch.published import Published
from torch_dispatch import Package, published, same, started, values

WRITING = """

class Writer(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.held = nn.Parameter(torch.ones(size, size))

    def forward(self, x, written):
        written.add_(1)
        return torch.addmm(written, x, self.held)
"""


@pytest.fixture
def package(tmp_path: Path) -> Package:
    made = Package(tmp_path / "source")
    path = tmp_path / "source" / f"{made.name}.py"
    path.write_text(path.read_text() + WRITING)
    return made


@pytest.fixture
def machine(package: Package, tmp_path: Path) -> Path:
    folder = tmp_path / "machine"
    published(package, folder)
    return folder


@pytest.mark.parametrize("when", ["at first", "later"])
def test_arguments_by_name_are_told_by_their_order(package: Package, tmp_path: Path, when: str) -> None:
    model, x = package.model(), values()
    published(package, tmp_path, lambda forward: forward(x, a=1.0, b=2.0))
    with started(model, tmp_path) as start:
        if when == "later":
            start.forward(x, a=1.0, b=2.0)
            assert start.captured == [False]
        found = start.forward(x, b=2.0, a=1.0)
        assert same(found, model(x, b=2.0, a=1.0))
        assert not same(found, model(x, a=1.0, b=2.0))


def square(size: int) -> torch.Tensor:
    return torch.linspace(-1, 1, size * size).view(size, size)


def lying_in_one_place(model: Any, size: int) -> tuple[Any, Any]:
    place = square(size)
    return place[:], place


def lying_in_the_weights(model: Any, size: int) -> tuple[Any, Any]:
    return square(size), model.held.data


# Of two sizes: torch's own cache takes one way to share memory for another.
@pytest.mark.parametrize(("arguments", "size"), [(lying_in_one_place, 8), (lying_in_the_weights, 6)])
def test_inputs_that_share_memory_are_told_from_others(
    package: Package, tmp_path: Path, arguments: Callable[[Any, int], tuple[Any, Any]], size: int
) -> None:
    """The code writes to one of them: what the other then holds depends on where it lies."""
    made, captured = package.module.Writer, []
    for _ in range(2):
        with started(made(size), tmp_path) as start:
            start.forward(square(size), square(size))
            captured += start.captured
    assert captured == [True, False]
    expected_model, model = made(size), made(size)
    with started(model, tmp_path) as start:
        expected = expected_model(*arguments(expected_model, size))
        assert torch.allclose(start.forward(*arguments(model, size)), expected)
        assert start.captured == [True]


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


def test_with_a_default_device_it_starts_and_keeps_it(package: Package, tmp_path: Path) -> None:
    with default_device("cpu"):
        published(package, tmp_path)
        assert torch.get_default_device() == torch.device("cpu")
        model = package.model()
        with started(model, tmp_path) as start:
            assert same(start.forward(values()), model(values()))
            assert start.captured == [False]
            assert len(torch.overrides._get_current_function_mode_stack()) == 1
    with started(model, tmp_path) as start:
        assert same(start.forward(values()), model(values()))
        assert start.captured == [True], "with another one it is another call"


class TwiceAdded(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found * 2 if func is torch.addmm else found


def test_under_a_mode_nothing_is_loaded(package: Package, machine: Path) -> None:
    model = package.model()
    with started(model, machine) as start, TwiceAdded():
        assert same(start.forward(values()), model(values()))
        assert False not in start.captured


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_batched_by_functorch_nothing_is_loaded(package: Package, machine: Path) -> None:
    model, x = package.model(), torch.stack([values(), values() * 2])
    with started(model, machine) as start:
        found = torch.func.vmap(lambda each: start.forward(each, plain=True))(x)
        assert same(found, torch.func.vmap(lambda each: model(each, plain=True))(x))
        assert False not in start.captured


def test_numbers_of_numpy_are_captured_each_time(package: Package, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    model = package.model()
    with started(model, tmp_path) as start:
        for number in (1.0, 3.0):
            given = numpy.float32(number)
            assert same(start.forward(values(), a=given), model(values(), a=given))
        assert any("is of NumPy" in text for text in start.warnings)


OTHERWISE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the same": ({}, {}),
    "options": ({"emulate_precision_casts": True}, {}),
    "settings": ({}, {"allow_rnn": True}),
}


def test_other_options_are_other_dispatches(package: Package, tmp_path: Path, store_url: str) -> None:
    """A build holds them all: what is taken from it is what this process would have asked for."""
    store = {"url": store_url, "namespace": "dispatch-options", "config_dir": tmp_path / "keys"}
    model = package.model()
    with started(model, tmp_path / "builder", **store) as start:
        start.forward(values())
    for name, (patches, dynamo) in OTHERWISE.items():
        with (
            torch._dynamo.config.patch(dynamo),
            started(package.model(), tmp_path / name, patches=patches, **store) as start,
        ):
            there = Published(start.forward._model, start.session, patches)
            there.bring()
            assert there._found, "the build is there"
            assert same(start.forward(values()), model(values()))
            assert start.captured == [name != "the same"], name


def test_it_looks_like_the_models_forward(package: Package, tmp_path: Path) -> None:
    """generate() passes a mask only to what takes one by name."""
    model = package.model()
    with started(model, tmp_path) as start:
        assert inspect.signature(start.forward) == inspect.signature(model.forward)


def test_lengths_that_were_asked_for_hold_within_their_range(package: Package, tmp_path: Path) -> None:
    model = package.model()
    with started(model, tmp_path, {"x": {1: (4, 64)}, "mask": {2: (4, 64), 3: (4, 64)}}) as start:
        for tokens in (6, 9, 1, 2):
            x = values(tokens=tokens)
            assert same(start.forward(x), model(x))
        assert all(start.dispatches)
        assert len(start.captured) == 3, "6 and 9 in one capture; 1 and 2 are out of it"


def test_lengths_that_are_tied_to_others_are_captured_as_they_are(package: Package, tmp_path: Path) -> None:
    """The mask may vary, and has the length of an input that may not."""
    model, mask = package.model(), torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    with started(model, tmp_path, {"mask": {3: (2, 64)}}) as start:
        assert same(start.forward(values(), mask=mask), model(values(), mask=mask))
        assert all(start.dispatches), start.warnings


@pytest.mark.parametrize(
    "lengths", [{"ids": {1: (2, 9)}}, {"x": {1: (1, 9)}}, {"x": {-1: (2, 9)}}, {"x": {1: (9, 9)}}]
)
def test_lengths_that_no_call_could_have_are_refused(package: Package, tmp_path: Path, lengths: Any) -> None:
    package.edit(package.name, ", **more", "")
    package.edit(package.name, "more.values()", "()")
    with pytest.raises(BadSettings, match="dynamic"), started(package.model(), tmp_path, lengths):
        pass


def test_what_is_left_to_torch_isnt_looked_at_again(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0
    published_now = LoadedModel._published_now

    def counted(self: LoadedModel) -> Published:
        nonlocal looked
        looked += 1
        return published_now(self)

    monkeypatch.setattr(LoadedModel, "_published_now", counted)
    package.edit(
        package.name, "        for layer in", "        torch._dynamo.graph_break()\n        for layer in"
    )
    model = package.model()
    with started(model, tmp_path) as start:
        for _ in range(5):
            assert same(start.forward(values()), model(values()))
        assert looked == 1


def test_threads_with_different_calls_lose_nothing(package: Package, tmp_path: Path) -> None:
    model = package.model()
    calls: list[Callable[[LoadedModel], Any]] = [
        lambda forward: forward(values()),
        lambda forward: forward(values(), plain=True),
    ]
    with started(model, tmp_path) as start:
        expected = [call(start.forward) for call in calls]
        wrong: list[int] = []

        def alternate(thread: int) -> None:
            with torch.no_grad():
                for number in range(thread, thread + 100):
                    if not same(calls[number % 2](start.forward), expected[number % 2]):
                        wrong.append(number)

        threads = [threading.Thread(target=alternate, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(start.forward._candidates) == 2
        assert start.captured == [True, True]
