"""What a pull makes of bundles that a hostile or broken store sends."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from client_samples import TARGET, client, draft, publication, signed, wanted
from inductory_client.client import Client
from inductory_client.contract.blob import pack
from inductory_client.contract.bundle import (
    INDEX_BYTES_MAX,
    MAGIC,
    BundleIndex,
    end_header,
    frame_header,
)
from inductory_client.contract.descriptor import PYTHON
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Corrupt, TooLarge
from inductory_client.contract.wire import Build, encode
from inductory_client.publication import DraftBlob
from inductory_client.trouble import forget_warnings
from misbehaving import Handler, Misbehaving, always, answer, requests

LONG_S = 60.0
NAMES = ("a", "b")
WANTED = wanted(*(draft(name) for name in NAMES))
STUFFING = DraftBlob(PYTHON, "stuffing.py", b"nobody signed for this")


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


def frame(data: bytes) -> bytes:
    packed = pack(data)
    return frame_header(digest_of(data), len(data), packed) + packed


def build() -> Build:
    made = publication(*NAMES).build
    assert made is not None
    return made


def index(node: Client) -> bytes:
    """The index of a build, as it is but for a document that the store adds to its manifest."""
    of = publication(*NAMES)
    assert of.manifest is not None
    manifest = of.manifest.manifest
    stuffed = type(manifest)(
        graph_digest=manifest.graph_digest,
        guards_digest=manifest.guards_digest,
        submodules=manifest.submodules,
        entries=manifest.entries,
        documents=(*manifest.documents, STUFFING.descriptor),
    )
    artifacts = tuple(signed(each, node.signing_key()) for each in of.artifacts)
    return encode(BundleIndex(build=build(), manifests=(stuffed,), artifacts=artifacts))


def blobs(name: str) -> bytes:
    """The frames of what a load of the piece reads."""
    return b"".join(frame(blob.data) for blob in draft(name).blobs[:2])


def stalls_after(bundle: bytes) -> Handler:
    """Send the beginning of a bundle and no more; anything else that is asked has no answer at all."""

    def handler(sock: socket.socket, server: Misbehaving) -> None:
        for request in requests(sock, server):
            if b"/bundle" in request:
                sock.sendall(answer(bundle, length=1 << 20))
            server.over.wait()

    return handler


def test_an_index_that_is_a_bomb_is_never_unpacked(tmp_path: Path) -> None:
    bomb = pack(bytes(INDEX_BYTES_MAX + 1))
    bundle = MAGIC + frame_header(digest_of(b""), INDEX_BYTES_MAX + 1, bomb) + bomb + end_header(1)
    bomb_store = Misbehaving(always(answer(bundle)))
    with bomb_store as server, client(tmp_path, url=server.url) as node, pytest.raises(TooLarge):
        node.pull_build(build().key)


def test_an_empty_bundle_is_corrupt(tmp_path: Path) -> None:
    nothing = answer(MAGIC + end_header(0))
    empty_store = Misbehaving(always(nothing))
    with empty_store as server, client(tmp_path, url=server.url) as node, pytest.raises(Corrupt):
        node.pull_build(build().key)


def test_only_what_was_signed_for_is_kept(tmp_path: Path) -> None:
    """Manifests and builds aren't signed, so what they name mustn't fill the disk."""
    node = client(tmp_path)
    bundle = MAGIC + frame(index(node)) + frame(STUFFING.data) + blobs("a") + blobs("b") + end_header(6)
    with Misbehaving(always(answer(bundle))) as server, client(tmp_path, url=server.url) as node:
        report = node.pull_build(build().key)
        assert (report.artifacts, report.refused, report.blobs) == (2, {}, 4)
        assert node.cas.get(STUFFING.descriptor.digest) is None
        assert node.cas.usage().blobs == 4


def test_a_start_has_what_came_before_the_stream_stalled(tmp_path: Path) -> None:
    """Each artifact is recorded when its last blob arrives, not when the stream ends."""
    bundle = MAGIC + frame(index(client(tmp_path))) + blobs("a")
    places = {"build": build().key, "store_deadline_s": 1.0}
    with Misbehaving(stalls_after(bundle)) as server, client(tmp_path, url=server.url, **places) as node:
        fetched = node.fetch(WANTED, TARGET)
        assert list(fetched.pieces) == [draft("a").subject.key]
        assert any(b":resolve" in request for request in server.asked), "the rest was asked for in time"
