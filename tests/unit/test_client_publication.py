from __future__ import annotations

from pathlib import Path

import pytest
from client_samples import TARGET, client, draft, publication, wanted
from inductory_client.contract.descriptor import PAYLOAD
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import BadSettings, Malformed
from inductory_client.publication import DraftBlob, Publication


def test_a_drafts_key_is_known_before_it_is_signed(tmp_path: Path) -> None:
    with client(tmp_path) as here:
        (artifact,) = here.publisher.keep(Publication(artifacts=(draft("a"),)))
        assert artifact.key == draft("a").subject.key
        here.keyring().check(artifact)


def test_descriptors_say_what_the_blobs_are() -> None:
    blob = DraftBlob(PAYLOAD, "p", b"data")
    assert (blob.descriptor.digest, blob.descriptor.size) == (digest_of(b"data"), 4)
    assert [item.name for item in draft("a").subject.descriptors] == ["", "cabc.so", "output_code.py"]


def test_all_blobs_are_counted() -> None:
    whole = publication("a", "b")
    assert len(whole.blobs) == 7
    assert whole.bytes_held == sum(len(blob.data) for blob in whole.blobs)


def test_a_manifest_is_known_by_its_parts_not_its_documents() -> None:
    whole = publication("a").manifest
    assert whole is not None
    assert whole.manifest.id != publication("b").manifest.manifest.id  # type: ignore[union-attr]
    assert [item.digest for item in whole.manifest.documents] == [digest_of(whole.documents[0].data)]


def test_what_breaks_the_contract_is_not_published(tmp_path: Path) -> None:
    with client(tmp_path) as here:
        for bad in (draft("a", blobs=()), draft("a", backend="no spaces"), draft("a", graph_digest="short")):
            with pytest.raises(Malformed):
                here.publisher.publish_now(Publication(artifacts=(bad,)))
        assert here.cas.scan().artifacts == 0


def test_what_is_published_is_kept_whole(tmp_path: Path) -> None:
    """So that it can be sent later, when the store was down."""
    with client(tmp_path) as here:
        here.publisher.publish_now(publication("a"))
        assert [here.cas.get(blob.descriptor.digest) for blob in draft("a").blobs] == [
            blob.data for blob in draft("a").blobs
        ]


def test_a_fresh_key_is_trusted_in_the_process_that_made_it(tmp_path: Path) -> None:
    with client(tmp_path) as here:
        assert len(here.keyring()) == 0
        here.publisher.publish_now(publication("a"))
        assert len(here.fetch(wanted(draft("a")), TARGET).pieces) == 1


def test_no_key_no_publication(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config").mkdir(mode=0o700)
    (tmp_path / "config" / "key.pem").write_text("not a key")
    with client(tmp_path) as here:
        with pytest.raises(BadSettings, match="inductory keygen"):
            here.publisher.publish_now(publication("a"))
        assert here.publisher.submit(publication("a"))
        assert here.publisher.drain(60.0)
    assert "isn't published" in caplog.text


def test_the_publishers_queue_is_bounded(tmp_path: Path) -> None:
    from inductory_client import publish

    with client(tmp_path) as here:
        publisher = here.publisher
        with publisher._background._changed:  # its thread can't take anything meanwhile
            accepted = [publisher.submit(Publication()) for _ in range(publish.QUEUE_MAX + 5)]
        assert accepted.count(False) == publisher.dropped == 5
        assert publisher.drain(60.0)
