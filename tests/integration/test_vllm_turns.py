"""Turns of models that several ranks run in step: an engine has those of all its ranks, or waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from client_samples import TARGET, client, draft, wanted
from inductory_client.client import Client
from inductory_client.contract.digest import digest_of
from inductory_client.contract.lease import LEASE_S_MAX, KeysAwaited, LeaseEnd, LeasesEnded, LeasesWanted
from inductory_client.graph.unsupported import Unsupported
from inductory_client.integrations.vllm import turn
from inductory_client.integrations.vllm.counts import Counts
from inductory_client.integrations.vllm.factors import keys_of_others
from inductory_client.integrations.vllm.turn import ModelTurns, engine_of, ranks_of, takes_turns
from inductory_client.publication import Publication
from inductory_client.transport import HttpStore

RANKS = 3
ENGINES = 4
PIECES = [draft(f"rank {rank}") for rank in range(RANKS)]
KEYS = [piece.subject.key for piece in PIECES]


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return "vllm-turns-" + digest_of(request.node.name.encode())[:12]


@pytest.fixture
def store(own_store_url: str, namespace: str) -> Iterator[HttpStore]:
    """As somebody else uses it."""
    store = HttpStore(own_store_url, namespace)
    yield store
    store.close()


def others_of(rank: int) -> list[str]:
    return [key for key in KEYS if key != KEYS[rank]]


class Engine:
    """Ranks that go on together from their first step, once each has compiled or loaded its model.

    They publish after that: what they wait for mustn't be another engine that waits for them.
    """

    def __init__(self, name: str, ranks: list[Client], patience_s: float = 300.0) -> None:
        self.name = name
        self.first_step = threading.Barrier(len(ranks))
        self.ranks = ranks
        self.patience_s = patience_s
        self.compiled: list[int] = []
        self.awaited_s = 0.0

    def start(self, pool: ThreadPoolExecutor) -> Callable[[], None]:
        """Start all ranks; what is returned waits for them."""
        running = [pool.submit(self._run, rank) for rank in range(len(self.ranks))]
        return lambda: [each.result() for each in running] and None

    def _run(self, rank: int) -> None:
        here, piece = self.ranks[rank], PIECES[rank]
        counts = Counts(here)

        def bring() -> bool:
            return KEYS[rank] in here.fetch(wanted(piece), TARGET).pieces

        came = bring() or ModelTurns(here, counts, self.patience_s).take(
            KEYS[rank], bring, others=others_of(rank), engine=self.name
        )
        self.first_step.wait(60)
        if not came:
            self.compiled.append(rank)
            assert here.publisher.submit(Publication(artifacts=(piece,)))
            assert here.publisher.drain(60)
        self.awaited_s += counts.awaited_s


@pytest.fixture
def engines(
    own_store_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Engine]]:
    """On machines that sign with one key."""
    monkeypatch.setattr(turn, "ready_s", lambda: 600.0)
    with ExitStack() as stack:

        def rank(name: str) -> Client:
            here = client(
                tmp_path / name,
                url=own_store_url,
                namespace=namespace,
                config_dir=tmp_path / "config",
                lease_s=60.0,
                store_deadline_s=60.0,
            )
            here.signing_key()
            return stack.enter_context(here)

        yield [
            Engine(f"engine{at}", [rank(f"{at}-{number}") for number in range(RANKS)])
            for at in range(ENGINES)
        ]


def run(*engines: Engine) -> list[list[int]]:
    """Start engines at once, and return which ranks each has compiled, once all are past their first step."""
    with ThreadPoolExecutor(RANKS * len(engines)) as pool:
        for end in [engine.start(pool) for engine in engines]:
            end()
    return [sorted(engine.compiled) for engine in engines]


def free(store: HttpStore) -> set[str]:
    return set(store.await_keys(KeysAwaited(keys=tuple(KEYS), wait_s=0)).free)


def test_of_engines_that_start_together_one_compiles_all_ranks(engines: list[Engine]) -> None:
    compiled = run(*engines)
    assert sorted(compiled) == [[], [], [], list(range(RANKS))]
    assert not any(rank.leases.any for engine in engines for rank in engine.ranks)


def test_an_engine_that_died_is_replaced_by_one(engines: list[Engine], store: HttpStore) -> None:
    """Its ranks' leases run out one after the other."""
    for rank, key in enumerate(KEYS):
        dying = LeasesWanted(holder="dies", keys=(key,), seconds=1.0 + 0.3 * rank)
        assert len(store.take_leases(dying).granted) == 1
    assert sorted(run(*engines)) == [[], [], [], list(range(RANKS))]


def test_ranks_that_are_published_are_loaded_and_the_rest_is_one_engines(
    engines: list[Engine], store: HttpStore
) -> None:
    """As where an engine died between its ranks' publications."""
    store.take_leases(LeasesWanted(holder="dies", keys=tuple(KEYS[1:]), seconds=2.0))
    engines[0].ranks[0].publisher.publish_now(Publication(artifacts=(PIECES[0],)))
    assert sorted(run(*engines)) == [[], [], [], [1, 2]]


def test_an_engine_holds_nothing_while_it_waits(engines: list[Engine], store: HttpStore) -> None:
    (lease,) = store.take_leases(LeasesWanted(holder="other", keys=(KEYS[1],), seconds=LEASE_S_MAX)).granted
    leases = [rank.leases for rank in engines[0].ranks]
    for number, each in enumerate(leases):
        each.share(engines[0].name)
        turn = each.take(KEYS[number : number + 1], others=others_of(number))
        assert (turn.mine, turn.held) == (frozenset(), {KEYS[1]})
        assert not each.any
        assert free(store) == {KEYS[0], KEYS[2]}
    with ThreadPoolExecutor(RANKS) as pool:
        end = engines[0].start(pool)
        store.release_leases(LeasesEnded(leases=(LeaseEnd(key=lease.key, token=lease.token),)))
        end()
    assert sorted(engines[0].compiled) == list(range(RANKS))


def test_what_one_rank_was_given_the_others_are_given(engines: list[Engine], store: HttpStore) -> None:
    first, second, _ = (rank.leases for rank in engines[0].ranks)
    for each in (first, second):
        each.share(engines[0].name)
    assert first.take(KEYS[:1], others=others_of(0)).mine == {KEYS[0]}
    assert second.take(KEYS[1:2], others=others_of(1)).mine == {KEYS[1]}
    assert free(store) == set()
    second.end(KEYS[1:2])
    assert free(store) == {KEYS[1]}, "each gives back its own alone"
    assert first.token_of(KEYS[0]) is not None


def test_who_waits_in_vain_compiles_all_ranks(engines: list[Engine], store: HttpStore) -> None:
    store.take_leases(LeasesWanted(holder="other", keys=(KEYS[1],), seconds=LEASE_S_MAX))
    engines[0].patience_s = 0.3
    assert run(engines[0]) == [list(range(RANKS))]
    assert {KEYS[0], KEYS[2]} == set(store.await_keys(KeysAwaited(keys=tuple(KEYS), wait_s=0)).published)


def test_what_failed_for_one_rank_is_tried_by_none(engines: list[Engine], store: HttpStore) -> None:
    (lease,) = store.take_leases(LeasesWanted(holder="other", keys=(KEYS[1],), seconds=60.0)).granted
    store.release_leases(LeasesEnded(leases=(LeaseEnd(key=KEYS[1], token=lease.token, failure="no memory"),)))
    turns = ModelTurns(engines[0].ranks[0], Counts(engines[0].ranks[0]), 300.0)
    with pytest.raises(Unsupported, match="no memory"):
        turns.take(KEYS[0], lambda: False, others=KEYS[1:], engine="engine")
    assert free(store) == {KEYS[0], KEYS[2]}


def config(**parallel: object) -> SimpleNamespace:
    usual = {
        "world_size": 1,
        "data_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "distributed_executor_backend": "mp",
        "nnodes": 1,
    }
    return SimpleNamespace(parallel_config=SimpleNamespace(**usual | parallel))


def test_which_models_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = takes_turns(config(distributed_executor_backend="uni"))
    assert (alone, takes_turns(config(data_parallel_size=2))) == (True, False)
    assert not takes_turns(config(world_size=2)), "nobody started this process"
    monkeypatch.setattr("multiprocessing.parent_process", lambda: SimpleNamespace(pid=7))
    assert takes_turns(config(world_size=2))
    assert not takes_turns(config(world_size=2, nnodes=2))
    assert not takes_turns(config(world_size=2, pipeline_parallel_size=2))
    assert not takes_turns(config(world_size=2, distributed_executor_backend="ray"))
    name = engine_of(config(world_size=2))
    monkeypatch.setattr("multiprocessing.parent_process", lambda: SimpleNamespace(pid=8))
    assert engine_of(config(world_size=2)) != name


def test_a_draft_model_takes_turns_as_its_target_does() -> None:
    draft_of_two_nodes = config()
    draft_of_two_nodes.speculative_config = SimpleNamespace(
        target_parallel_config=config(world_size=16, nnodes=2).parallel_config
    )
    assert not takes_turns(draft_of_two_nodes)
    assert ranks_of(draft_of_two_nodes) == range(16)
    alone = config()
    alone.speculative_config = SimpleNamespace(target_parallel_config=None)
    assert takes_turns(alone)


def test_the_keys_of_other_ranks() -> None:
    assert keys_of_others("abc/rank_1_0", range(3)) == ("abc/rank_0_0", "abc/rank_2_0")
    assert keys_of_others("abc/rank_0_0", range(1)) == ()
