"""The places for blobs that the conformance suite is run on, each with the little that joining it takes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

import httpx
from inductory_client.contract import wire
from inductory_client.contract.errors import error_from_code
from inductory_store.blobs.store import BlobStat, BlobStore
from inductory_store.blobs.unpacking import unpacked


class Subject(Protocol):
    """What the suite asks of every place, over HTTP too."""

    def put(self, digest: str, size: int, packed: Iterable[bytes]) -> BlobStat: ...
    def open(self, digest: str) -> BinaryIO: ...
    def stat(self, digest: str) -> BlobStat | None: ...
    def read_range(self, digest: str, size: int, start: int, stop: int) -> bytes: ...


class Local:
    """A BlobStore in this process; ranges are read as the store reads them."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self.put, self.open, self.stat = blobs.put, blobs.open, blobs.stat

    def read_range(self, digest: str, size: int, start: int, stop: int) -> bytes:
        with self._blobs.open(digest) as file:
            chunks = iter(lambda: file.read(1000), b"")
            return b"".join(unpacked(chunks, digest, size, start, stop))


class OverHttp:
    """A store process, as a place for blobs."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"Accept-Encoding": "identity"}, timeout=60)

    def put(self, digest: str, size: int, packed: Iterable[bytes]) -> BlobStat:
        headers = {"Content-Encoding": "zstd", wire.SIZE_HEADER: str(size)}
        _checked(self._http.put(f"/v1/blobs/{digest}", content=_sent(packed), headers=headers))
        stat = self.stat(digest)
        assert stat is not None
        return stat

    def open(self, digest: str) -> BinaryIO:
        with self._http.stream("GET", f"/v1/blobs/{digest}", headers={"Accept-Encoding": "zstd"}) as answer:
            if answer.is_error:
                answer.read()
            # `iter_raw` leaves the zstd frame as it is.
            return io.BytesIO(b"".join(_checked(answer).iter_raw()))

    def stat(self, digest: str) -> BlobStat | None:
        answer = self._http.head(f"/v1/blobs/{digest}", headers={"Accept-Encoding": "zstd"})
        if answer.status_code == 404:
            return None
        return BlobStat(int(answer.raise_for_status().headers["content-length"]))

    def read_range(self, digest: str, size: int, start: int, stop: int) -> bytes:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        answer = _checked(self._http.get(f"/v1/blobs/{digest}", headers=headers))
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        return answer.content

    def close(self) -> None:
        self._http.close()


def _sent(packed: Iterable[bytes]) -> Iterator[bytes]:
    yield from packed


def _checked(answer: httpx.Response) -> httpx.Response:
    """Take the client's way back from a Problem to an error."""
    if answer.is_error:
        problem = wire.decode(answer.content, wire.Problem)
        raise error_from_code(problem.code, problem.detail)
    return answer
