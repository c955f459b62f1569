"""A child of a process whose other threads are in the middle of something works like any other process."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from client_samples import TARGET, client, draft, wanted
from inductory_client import fork, trouble
from inductory_client.breaker import CircuitBreaker
from inductory_client.contract.errors import StoreUnavailable
from inductory_client.deadline import StoreBudget
from inductory_client.fork import ForkLock, import_in_thread
from inductory_client.trouble import warn_once
from misbehaving import refused

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
LONG_S = 60


def works_in_a_child(use: Callable[[], bool]) -> bool:
    """Whether `use` ends in a forked child, and well."""
    child = os.fork()
    if child == 0:
        signal.alarm(LONG_S)  # a child that hangs is killed
        fine = False
        try:
            fine = use()
        finally:
            os._exit(0 if fine else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def locks_of(part: object) -> list[ForkLock]:
    return [value for value in vars(part).values() if isinstance(value, ForkLock)]


def test_a_lock_is_free_in_a_child() -> None:
    lock, taken, over = ForkLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            over.wait(LONG_S)

    def use() -> bool:
        with lock:
            return True

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(LONG_S)
    assert works_in_a_child(use)
    over.set()
    holder.join()
    assert use()


def test_a_child_fetches_whatever_its_parent_is_at(tmp_path: Path) -> None:
    with refused() as url, client(tmp_path, url=url, build="ab" * 32, drain_s=0.0) as node:
        node.prefetch()
        parts = (node, node.breaker, node.budget, *node._prefetches.values())
        locks = [trouble._lock, *(lock for part in parts for lock in locks_of(part))]
        assert len(locks) == 1 + len(parts)

        def use() -> bool:
            warn_once("fork", "a child warns")
            fetched = node.fetch(wanted(draft("a")), TARGET)
            node.signing_key()
            return isinstance(fetched.error, StoreUnavailable) and fetched.pieces == {}

        for lock in locks:
            lock.__enter__()
        try:
            assert works_in_a_child(use)
        finally:
            for lock in locks:
                lock.__exit__()


def test_a_child_may_try_the_store_that_its_parent_is_trying() -> None:
    breaker = CircuitBreaker(failures_max=1, reset_s=0.0)
    with pytest.raises(StoreUnavailable), breaker.call():
        raise StoreUnavailable

    def use() -> bool:
        with breaker.call():
            return True

    with breaker.call():
        assert works_in_a_child(use)


def test_a_child_has_what_its_parent_left_of_the_budget() -> None:
    now = 0.0
    budget = StoreBudget(2.0, lambda: now)

    def use() -> bool:
        nonlocal now
        now = 100.0
        return budget.remaining() == 2.0

    with budget.waiting():
        assert works_in_a_child(use), "the parent's wait isn't the child's"


SLOW = """
import threading
import types
import {gate}

{gate}.begun.set()
assert {gate}.over.wait(60)
"""


def test_a_fork_waits_for_what_a_thread_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child that was forked meanwhile the module would stay locked for ever."""
    gate = types.ModuleType("fork_test_gate")
    gate.begun, gate.over = threading.Event(), threading.Event()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, gate.__name__, gate)
    (tmp_path / "fork_test_slow.py").write_text(SLOW.format(gate=gate.__name__))
    monkeypatch.syspath_prepend(tmp_path)
    importer = threading.Thread(target=import_in_thread, args=(["fork_test_slow"],))
    importer.start()
    assert gate.begun.wait(LONG_S)
    # It goes on once the fork has begun, and so waits.
    os.register_at_fork(before=gate.over.set)
    assert works_in_a_child(lambda: importlib.import_module("fork_test_slow") is not None)
    importer.join()


def test_a_fork_waits_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork, "IMPORT_WAIT_S", 0.0)
    with fork._importing:
        assert works_in_a_child(lambda: import_in_thread(["json"]) is None)
    import_in_thread(["json"])
