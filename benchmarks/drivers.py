"""Drivers: what the store's hottest question costs on PostgreSQL by psycopg and asyncpg, through SQLAlchemy.

    make bench-drivers  -->  build/bench/drivers.json

16 connections ask for three of 600 artifacts, each time for others, by one statement of SQLAlchemy's: psycopg
from threads, as the store does, and asyncpg from one event loop. Both drivers ask once more without
SQLAlchemy, by the same SQL. No HTTP is in it. Rounds alternate; PostgreSQL runs on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _servers
import asyncpg  # type: ignore[import-untyped]
import psycopg
import uvloop
from _harness import finish, median, progress
from _postgresql import postgresql
from _raw_read import READ
from inductory_store.catalog.tables import artifact, artifact_blob, blob
from resolve import PIECES
from resolve_postgresql import ARTIFACTS, published
from sqlalchemy import Select, create_engine, select
from sqlalchemy.ext.asyncio import create_async_engine

ROUNDS = 5
SECONDS = 4.0
CONNECTIONS = 16
"""As many as a store keeps."""
MEASURED = {
    "asyncpg_over_psycopg": "questions a second through SQLAlchemy: above 1, asyncpg answers more",
    "raw_asyncpg_over_psycopg": "the same by the drivers alone",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="to try it out: two short rounds")
    small = parser.parse_args().small
    rounds, seconds, artifacts = (2, 1.0, 100) if small else (ROUNDS, SECONDS, ARTIFACTS)
    with tempfile.TemporaryDirectory(prefix="inductory-bench-") as name, postgresql() as server:
        folder, database = Path(name), server.database("drivers")
        with _servers.store(folder / "store", INDUCTORY_STORE_DATABASE_URL=database) as url:
            keys = [each.key for each in published(folder, url, artifacts)]
        server.analyse("drivers")
        questions = [random.Random(at).sample(keys, PIECES) for at in range(10_000)]
        runs = []
        for number in range(1, rounds + 1):
            found = {name: ask(database, questions, seconds) for name, ask in WAYS.items()}
            runs.append({name: {"per_s": rate} for name, rate in found.items()})
            progress(f"round {number}: " + ", ".join(f"{name} {rate:,.0f}/s" for name, rate in found.items()))
    rates = {name: median(runs, name, "per_s") for name in WAYS}
    figures: dict[str, Any] = {f"{name}_per_s": round(rate) for name, rate in rates.items()}
    figures["asyncpg_over_psycopg"] = round(rates["asyncpg"] / rates["psycopg"], 3)
    figures["raw_asyncpg_over_psycopg"] = round(rates["raw_asyncpg"] / rates["raw_psycopg"], 3)
    figures |= {"connections": CONNECTIONS, "rounds": rounds}
    finish("drivers", figures, {}, measured=MEASURED, runs=runs)


def _statement(keys: list[str]) -> Select[Any]:
    part = artifact_blob
    return (
        select(artifact.c.record, blob.c.digest, blob.c.size, blob.c.packed_size)
        .join(part, (part.c.namespace == artifact.c.namespace) & (part.c.artifact == artifact.c.key))
        .join(blob, blob.c.digest == part.c.digest)
        .where(artifact.c.namespace == "default", artifact.c.key.in_(keys))
    )


def _by_threads(ask: Callable[[list[str]], int], questions: list[list[str]], seconds: float) -> float:
    """Return how many questions a second are answered by CONNECTIONS threads; `ask` returns rows."""
    following = itertools.count()
    until = time.perf_counter() + seconds
    answered = [0] * CONNECTIONS

    def loop(at: int) -> None:
        while time.perf_counter() < until:
            assert ask(questions[next(following) % len(questions)])
            answered[at] += 1

    threads = [threading.Thread(target=loop, args=(at,)) for at in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered) / seconds


def _psycopg(database: str, questions: list[list[str]], seconds: float) -> float:
    url = database.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url, pool_size=CONNECTIONS, isolation_level="AUTOCOMMIT")

    def ask(keys: list[str]) -> int:
        with engine.connect() as connection:
            return len(connection.execute(_statement(keys)).all())

    try:
        return _by_threads(ask, questions, seconds)
    finally:
        engine.dispose()


def _raw_psycopg(database: str, questions: list[list[str]], seconds: float) -> float:
    free = [psycopg.connect(database, autocommit=True) for _ in range(CONNECTIONS)]

    def ask(keys: list[str]) -> int:
        connection = free.pop()
        try:
            return len(connection.execute(READ, ("default", keys)).fetchall())
        finally:
            free.append(connection)

    try:
        return _by_threads(ask, questions, seconds)
    finally:
        for connection in free:
            connection.close()


async def _by_tasks(ask: Callable[[list[str]], Any], questions: list[list[str]], seconds: float) -> float:
    following = itertools.count()
    until = time.perf_counter() + seconds

    async def loop() -> int:
        answered = 0
        while time.perf_counter() < until:
            assert await ask(questions[next(following) % len(questions)])
            answered += 1
        return answered

    return sum(await asyncio.gather(*(loop() for _ in range(CONNECTIONS)))) / seconds


def _asyncpg(database: str, questions: list[list[str]], seconds: float) -> float:
    async def run() -> float:
        url = database.replace("postgresql:", "postgresql+asyncpg:")
        engine = create_async_engine(url, pool_size=CONNECTIONS, isolation_level="AUTOCOMMIT")

        async def ask(keys: list[str]) -> int:
            async with engine.connect() as connection:
                return len((await connection.execute(_statement(keys))).all())

        try:
            return await _by_tasks(ask, questions, seconds)
        finally:
            await engine.dispose()

    return uvloop.run(run())


def _raw_asyncpg(database: str, questions: list[list[str]], seconds: float) -> float:
    async def run() -> float:
        sql = READ.decode().replace("%s", "$1", 1).replace("%s", "$2", 1)
        async with asyncpg.create_pool(database, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:

            async def ask(keys: list[str]) -> int:
                return len(await pool.fetch(sql, "default", keys))

            return await _by_tasks(ask, questions, seconds)

    return uvloop.run(run())


WAYS = {
    "psycopg": _psycopg,
    "asyncpg": _asyncpg,
    "raw_psycopg": _raw_psycopg,
    "raw_asyncpg": _raw_asyncpg,
}


if __name__ == "__main__":
    main()
