"""Speaking to a store in the contract's messages, and artifacts whose compile is simulated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from inductory_client.contract.artifact import Artifact, Subject
from inductory_client.contract.blob import pack
from inductory_client.contract.descriptor import PAYLOAD, Descriptor
from inductory_client.contract.digest import digest_of
from inductory_client.contract.key import BACKEND
from inductory_client.contract.lease import LEASE_HEADER
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.target import Target
from inductory_client.contract.wire import SIZE_HEADER, decode, encode
from inductory_client.trust import SigningKey

TARGET = Target({"torch.version": "2.13.0", "cpu.isa": "avx512"})
KEY = SigningKey.generate()
_NAMESPACE = "namespace=default"

T = TypeVar("T")


@dataclass(frozen=True)
class Compiled:
    """What a simulated compile makes: an artifact, and the bytes of its one blob."""

    artifact: Artifact
    data: bytes


def compiled(graph: str, data: bytes) -> Compiled:
    """Return the artifact of a graph; its key follows from the graph alone, its bytes are as told."""
    payload = Descriptor(media_type=PAYLOAD, digest=digest_of(data), size=len(data))
    subject = Subject(
        graph_digest=digest_of(graph.encode()),
        shape=(1, 16384),
        backend=BACKEND,
        target=TARGET,
        descriptors=(payload,),
    )
    provenance = Provenance(builder="simulated", created_at="2026-01-01T00:00:00Z", compile_seconds=1.0)
    signature = KEY.sign(subject.signed_bytes)
    return Compiled(Artifact(subject=subject, signature=signature, provenance=provenance), data)


def random_bytes(seed: object, size: int) -> bytes:
    return random.Random(str(seed)).randbytes(size)


class Talk:
    """One kept connection to a store. Not for several threads."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(str(parts.hostname), parts.port, timeout=120)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Send a request; return the status and the body of the answer."""
        address = f"{path}{'&' if '?' in path else '?'}{_NAMESPACE}"
        self._connection.request(method, address, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def tell(self, path: str, message: Any, answer_type: type[T]) -> T:
        """Send a message; return the answer. Raises RuntimeError unless it is a success."""
        status, body = self.ask("POST", path, encode(message))
        if status != 200:
            raise RuntimeError(body.decode())
        return decode(body, answer_type)

    def publish(self, made: Compiled, lease: str | None = None) -> tuple[int, bytes]:
        """Upload an artifact's blob and publish it; return how the store took it."""
        digest, size = made.artifact.subject.descriptors[0].digest, str(len(made.data))
        packed = {"Content-Encoding": "zstd", SIZE_HEADER: size}
        status, body = self.ask("PUT", f"/v1/blobs/{digest}", pack(made.data), **packed)
        if status not in (200, 201):
            raise RuntimeError(body.decode())
        held = {} if lease is None else {LEASE_HEADER: lease}
        return self.ask("PUT", f"/v1/artifacts/{made.artifact.key}", encode(made.artifact), **held)

    def close(self) -> None:
        self._connection.close()


def published_blobs(url: str, files: Path, count: int, size: int) -> list[str]:
    """Publish blobs of `size` random bytes, and write their frames as `files`; return their digests."""
    talk, digests = Talk(url), []
    for at in range(count):
        made = compiled(f"blob {at}", random_bytes(at, size))
        talk.publish(made)
        digests.append(made.artifact.subject.descriptors[0].digest)
        (files / digests[-1]).write_bytes(pack(made.data))
    talk.close()
    return digests
