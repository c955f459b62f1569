"""A raw driver's read: `python benchmarks/_raw_read.py DATABASE_URL ANSWERS` answers every resolve.

The same framework and server with the same settings as a store's. It reads the same rows by the same indexes
with psycopg alone, in one statement and no transaction, and returns ready-made bytes: ANSWERS has a line for
each question, and behind it, after a blank, its answer.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import psycopg
import uvicorn
from fastapi import FastAPI, Request, Response
from inductory_client.contract import wire
from inductory_client.contract.wire import Resolve

CONNECTIONS = 16
"""As many as a store keeps."""
READ = b"""
    SELECT artifact.record, blob.digest, blob.size, blob.packed_size
    FROM artifact
    JOIN artifact_blob AS part ON part.namespace = artifact.namespace AND part.artifact = artifact.key
    JOIN blob ON blob.digest = part.digest
    WHERE artifact.namespace = %s AND artifact.key = ANY(%s)
"""

app = FastAPI(docs_url=None, redoc_url=None)
free: asyncio.LifoQueue[psycopg.AsyncConnection[tuple[object, ...]]] = asyncio.LifoQueue()
answers: dict[bytes, bytes] = {}


@app.post("/v1/artifacts:resolve", response_class=Response)
async def read(request: Request, namespace: str = "default") -> Response:
    question = await request.body()
    keys = [each.key for each in wire.decode(question, Resolve).artifacts]
    connection = await free.get()
    try:
        rows = await (await connection.execute(READ, (namespace, keys))).fetchall()
    finally:
        free.put_nowait(connection)
    assert rows
    return Response(answers[question], media_type="application/json")


async def main() -> None:
    url, path = sys.argv[1:]
    for line in Path(path).read_bytes().splitlines():
        question, _, answer = line.partition(b"} {")
        answers[question + b"}"] = b"{" + answer
    for _ in range(CONNECTIONS):
        free.put_nowait(await psycopg.AsyncConnection.connect(url, autocommit=True))
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(f"inductory store: http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
