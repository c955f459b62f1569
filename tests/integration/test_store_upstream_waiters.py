"""Many who wait near a pull-through store: upstream is asked about keys, and not by each who waits."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from inductory_client.contract import wire
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import UpstreamUnavailable
from inductory_client.contract.lease import LEASES_MAX, KeysAwaited, Leased, LeasesWanted, Standing
from inductory_store.upstream.absent import Absent
from inductory_store.upstream.exchange import Exchange
from inductory_store.upstream.waiting import AwaitedUpstream
from s3_proxy import Asked, S3Proxy, hang
from store_messages import Talk, artifact, descriptor
from store_process import StoreProcess

WAITERS = 200
QUESTIONS_MAX = 50
"""Far more than any of these takes, as a question lasts two seconds, and fewer than there are waiters."""
WAIT_S = 60.0
ARTIFACTS = [artifact([descriptor(b"payload")], f"graph {at}") for at in range(4)]
KEYS = [each.key for each in ARTIFACTS]


class Holder:
    """Compiles all of KEYS, and has sent the blob that they share."""

    def __init__(self, url: str) -> None:
        self.talk = Talk(url, "default")
        assert self.talk.put_blob(b"payload").is_success
        wanted = LeasesWanted(holder="holder", keys=tuple(KEYS), seconds=600)
        answer = self.talk.http.post("/v1/leases", content=wire.encode(wanted))
        self._tokens = {each.key: each.token for each in wire.decode(answer.content, Leased).granted}

    def publish(self, at: int) -> None:
        assert self.talk.put_artifact(ARTIFACTS[at], lease=self._tokens[KEYS[at]]).status_code == 201


@pytest.fixture
def holder(upstream: StoreProcess) -> Iterator[Holder]:
    holder = Holder(upstream.url)
    yield holder
    holder.talk.http.close()


@pytest.fixture
def exchange(way: S3Proxy) -> Iterator[Exchange]:
    exchange = Exchange(way.url, 5.0)
    yield exchange
    exchange.close()


@pytest.fixture
def awaited(exchange: Exchange) -> AwaitedUpstream:
    return AwaitedUpstream(exchange, Absent())


def questions(way: S3Proxy) -> int:
    return sum("leases:wait" in each.path for each in way.seen)


Waiting = asyncio.Task[Standing]


def waits(awaited: AwaitedUpstream, *keys: str, wait_s: float = WAIT_S) -> Waiting:
    return asyncio.create_task(awaited.standing("default", KeysAwaited(keys=keys, wait_s=wait_s)))


async def asked(upstream: StoreProcess, way: S3Proxy, times: int) -> None:
    await asyncio.to_thread(upstream.wait_until, lambda: questions(way) >= times)


def test_those_who_wait_for_the_same_share_a_question(
    upstream: StoreProcess, way: S3Proxy, holder: Holder, awaited: AwaitedUpstream
) -> None:
    async def scene() -> None:
        first = [waits(awaited, *KEYS[:3]) for _ in range(WAITERS)]
        await asked(upstream, way, 2)
        later = [waits(awaited, *KEYS[at : at + 2]) for at in (0, 1) for _ in range(WAITERS)]
        await asyncio.to_thread(holder.publish, 0)
        # Each of the first ones, and half of the later ones, waits for that key.
        for each in await asyncio.gather(*first):
            assert (each.published, [held.key for held in each.held]) == ((KEYS[0],), KEYS[1:3])
        for each in await asyncio.gather(*later[:WAITERS]):
            assert (each.published, [held.key for held in each.held]) == ((KEYS[0],), [KEYS[1]])
        others = later[WAITERS:]
        assert not any(each.done() for each in others)
        await asyncio.to_thread(holder.publish, 2)
        for each in await asyncio.gather(*others):
            assert (each.published, [held.key for held in each.held]) == ((KEYS[2],), [KEYS[1]])

    asyncio.run(scene())
    assert questions(way) <= QUESTIONS_MAX


def test_nodes_that_wait_near_a_store_cost_upstream_few_questions(
    way: S3Proxy, holder: Holder, tmp_path: Path
) -> None:
    question = wire.encode(KeysAwaited(keys=tuple(KEYS), wait_s=WAIT_S))
    with StoreProcess(tmp_path / "near", {"INDUCTORY_STORE_UPSTREAM_URL": way.url}) as near:
        host = urlsplit(near.url).netloc
        nodes = [http.client.HTTPConnection(host) for _ in range(WAITERS)]
        for each in nodes:
            each.request("POST", "/v1/leases:wait", question, {"Content-Type": "application/json"})
        assert httpx.get(f"{near.url}/healthz").status_code == 200, "those who came first are waiting"
        near.wait_until(lambda: questions(way) >= 2)
        holder.publish(3)
        for each in nodes:
            found = wire.decode(each.getresponse().read(), Standing)
            assert (found.published, len(found.held)) == ((KEYS[3],), 3)
            each.close()
    assert questions(way) <= QUESTIONS_MAX


def test_other_keys_dont_wait_for_the_end_of_a_question(
    upstream: StoreProcess, way: S3Proxy, holder: Holder, exchange: Exchange, awaited: AwaitedUpstream
) -> None:
    def second(_: Asked) -> bool:
        return questions(way) == 2

    async def scene() -> None:
        with way.spoiling(second, hang):
            held_up = waits(awaited, KEYS[0])
            await asked(upstream, way, 2)
            holder.publish(1)
            assert (await waits(awaited, KEYS[1])).published == (KEYS[1],)
            assert not held_up.done()
            exchange.close()
            with pytest.raises(UpstreamUnavailable):
                await held_up

    asyncio.run(scene())


def test_who_has_waited_long_enough_is_told_that_all_are_held(
    way: S3Proxy, holder: Holder, awaited: AwaitedUpstream
) -> None:
    async def scene() -> None:
        longer = waits(awaited, *KEYS)
        for wait_s in (0.01, 0.0):
            found = await waits(awaited, *KEYS, KEYS[0], wait_s=wait_s)
            assert [each.key for each in found.held] == KEYS
            assert all(0 < each.expires_in_s <= 600 for each in found.held)
        assert not longer.done()
        awaited.close()
        assert len((await longer).held) == len(KEYS), "the store is about to end"
        assert len((await waits(awaited, *KEYS)).held) == len(KEYS)
        assert await waits(awaited) == Standing()

    asyncio.run(scene())


def test_more_keys_than_fit_a_question_are_more_questions(way: S3Proxy, awaited: AwaitedUpstream) -> None:
    keys = [digest_of(b"%d" % at) for at in range(3 * LEASES_MAX // 2)]
    half = len(keys) // 2

    async def scene() -> None:
        found = await asyncio.gather(waits(awaited, *keys[:half]), waits(awaited, *keys[half:]))
        assert [each.free for each in found] == [tuple(keys[:half]), tuple(keys[half:])]

    asyncio.run(scene())
    assert questions(way) == 2


def test_an_upstream_that_dies_is_told_to_all_who_wait(
    upstream: StoreProcess, way: S3Proxy, holder: Holder, awaited: AwaitedUpstream
) -> None:
    async def scene() -> None:
        waiting = [waits(awaited, *KEYS) for _ in range(WAITERS)]
        await asked(upstream, way, 2)
        upstream.kill()
        for each in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(each, UpstreamUnavailable)

    asyncio.run(scene())
    assert questions(way) <= QUESTIONS_MAX


def test_those_who_wait_around_a_circle_are_told(tmp_path: Path) -> None:
    """Were they to share a question, each store's would wait for the other's."""
    with S3Proxy("http://127.0.0.1:9") as ahead:
        settings = {"INDUCTORY_STORE_UPSTREAM_TIMEOUT_S": "60", "INDUCTORY_STORE_UPSTREAM_URL": ahead.url}
        with StoreProcess(tmp_path / "one", settings) as one:
            settings["INDUCTORY_STORE_UPSTREAM_URL"] = one.url
            with StoreProcess(tmp_path / "other", settings) as other:
                ahead.lead_to(other.url)

                async def scene() -> None:
                    question = {"keys": KEYS, "wait_s": WAIT_S}
                    async with httpx.AsyncClient(timeout=WAIT_S) as nodes:
                        asking = [
                            nodes.post(f"{each.url}/v1/leases:wait", json=question)
                            for each in (one, other) * 4
                        ]
                        for each in await asyncio.gather(*asking):
                            assert (each.status_code, each.json()["code"]) == (508, "upstream_loop")

                asyncio.run(scene())
