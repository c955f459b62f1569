"""Killing a store's operations at a chosen step, by `kill -9`.

Run as a program it is a server: each line that it reads is a job, done in a fork that may kill itself. A fork
of a small process takes milliseconds, where a store of its own would take a second.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import httpx
import msgspec
from inductory_client.contract.blob import pack
from inductory_client.contract.digest import digest_of
from inductory_client.contract.wire import UploadWanted
from inductory_store.blobs.place import open_blobs
from inductory_store.blobs.s3 import S3Blobs
from inductory_store.blobs.store import BlobStat, BlobStore
from inductory_store.catalog.catalog import Catalog
from inductory_store.operations.upload_blob import finish_upload, offer_upload
from inductory_store.settings import StoreSettings
from inductory_store.store import Store
from lifetimes import gc, publish, use
from sqlalchemy import event

CHUNK_BYTES = 50
CHUNKS_MAX = 20
LARGE_BYTES = 9 << 20
"""What goes into a bucket in two parts."""


class Job(msgspec.Struct):
    """What to do, at what time, and before which step to die: 0 for none."""

    what: str
    name: str
    now: float
    kill_at: int = 0


class Ended(msgspec.Struct):
    """How a job ended, and the steps that it did: of one that was killed, unknown."""

    killed: bool
    steps: list[str]


def large(name: str) -> bytes:
    """What a publication has that is too large for one request."""
    return random.Random(name).randbytes(LARGE_BYTES)


def upload(store: Store, name: str) -> None:
    """Publish what was sent into the bucket by its address, as a client does that may."""
    data = large(name)
    packed, digest = pack(data), digest_of(data)
    offered = offer_upload(store, digest, UploadWanted(size=len(data), packed_size=len(packed)))
    httpx.put(offered.url, content=packed, headers=offered.headers).raise_for_status()
    finish_upload(store, digest, offered.upload)
    publish(store, name, data)


JOBS: dict[str, Callable[[Store, Job], object]] = {
    "publish": lambda store, job: publish(store, job.name),
    "publish large": lambda store, job: publish(store, job.name, large(job.name)),
    "upload": lambda store, job: upload(store, job.name),
    "use": lambda store, job: use(store, job.name),
    "gc": lambda store, job: gc(store, job.now),
}


class Steps:
    """Counts what a process does that outlives it, and kills it before the chosen one."""

    def __init__(self, kill_at: int) -> None:
        self._kill_at = kill_at
        self.done: list[str] = []

    def step(self, what: str) -> None:
        if len(self.done) + 1 == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.done.append(what)


class SteppingBlobs:
    """A place for blobs in which everything is a step, chunks that arrive among it."""

    def __init__(self, blobs: BlobStore, steps: Steps) -> None:
        self._blobs = blobs
        self._steps = steps
        if isinstance(blobs, S3Blobs):
            asked = blobs._client.meta.events
            asked.register("before-send.s3", lambda request, **_: steps.step(f"bucket: {request.method}"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def put(self, digest: str, size: int, packed: Iterable[bytes]) -> BlobStat:
        self._steps.step("put")
        stat = self._blobs.put(digest, size, self._chunks(packed))
        self._steps.step("put: at rest")
        return stat

    def _chunks(self, packed: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in packed:
            size = max(CHUNK_BYTES, len(chunk) // CHUNKS_MAX)
            for at in range(0, len(chunk), size):
                yield chunk[at : at + size]
                self._steps.step("put: a chunk")

    def open(self, digest: str) -> BinaryIO:
        self._steps.step("open")
        return self._blobs.open(digest)

    def delete(self, digest: str) -> bool:
        self._steps.step("delete")
        found = self._blobs.delete(digest)
        self._steps.step("delete: gone")
        return found


def do(settings: StoreSettings, catalog: Catalog, blobs: BlobStore, job: Job) -> list[str]:
    """Do a job in this process, and return its steps."""
    steps = Steps(job.kill_at)
    event.listen(catalog.engine, "before_cursor_execute", lambda *found: steps.step(found[2]))
    event.listen(catalog.engine, "commit", lambda _: steps.step("COMMIT"))
    stepping = cast(BlobStore, SteppingBlobs(blobs, steps))
    store = Store(settings, catalog, stepping, clock=lambda: job.now)
    JOBS[job.what](store, job)
    steps.step("end")
    catalog.close()
    return steps.done


class Killer:
    """Does jobs for a store in processes of their own; ends with the block."""

    def __init__(self, data_dir: Path, environ: dict[str, str]) -> None:
        path = os.pathsep.join([*filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(data_dir)],
            env={**os.environ, **environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def do(self, job: Job) -> Ended:
        """Do one. Raises RuntimeError where it ended in another way than it should."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line.strip():
            raise RuntimeError(f"{job} failed")
        return msgspec.json.decode(line, type=Ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def _serve(settings: StoreSettings) -> None:
    catalog = Catalog(settings.catalog_url, 1)  # which imports its driver, and connects to nothing yet
    blobs = open_blobs(settings)
    if isinstance(blobs, S3Blobs):
        blobs.close()  # each job connects anew: what one left on a connection isn't another's
    for line in sys.stdin.buffer:
        job = msgspec.json.decode(line, type=Job)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.write(writing, json.dumps(do(settings, catalog, blobs, job)).encode())
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        os.close(writing)
        with open(reading, "rb") as told:
            steps = told.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if killed or status == 0:
            ended = Ended(killed, json.loads(steps) if steps else [])
            sys.stdout.buffer.write(msgspec.json.encode(ended) + b"\n")
        else:
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve(StoreSettings.load(data_dir=Path(sys.argv[1])))
