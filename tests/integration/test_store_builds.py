"""Manifests and builds over HTTP, and what of them can be read."""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator

import pytest
from inductory_client.contract import wire
from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.bundle import BundleIndex, read_frames
from inductory_client.contract.descriptor import FILE, PYTHON
from inductory_client.contract.digest import digest_of
from inductory_client.contract.manifest import BLUEPRINT, Manifest
from msgspec.structs import replace
from store_messages import Talk, artifact, build, descriptor, manifest, problem


@pytest.fixture
def talk(any_store_url: str, request: pytest.FixtureRequest) -> Iterator[Talk]:
    """A namespace of its own for each test."""
    talk = Talk(any_store_url, "builds-" + digest_of(request.node.name.encode())[:12])
    yield talk
    talk.http.close()


def frames_of(talk: Talk, key: str) -> tuple[BundleIndex, dict[str, bytes], list[str]]:
    answer = talk.http.get(f"/v1/builds/{key}/bundle")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.inductory.bundle.v1"
    first, *rest = read_frames(io.BytesIO(answer.content), 1 << 30)
    digests = [digest for digest, _, _ in rest]
    return wire.decode(first[1], BundleIndex), {digest: data for digest, data, _ in rest}, digests


def test_a_manifest_comes_back(talk: Talk) -> None:
    value = manifest([talk.publish(b"payload")])
    answer = talk.put_manifest(value)
    assert answer.status_code == 201
    assert wire.decode(answer.content, wire.ManifestStored) == wire.ManifestStored(id=value.id, created=True)
    again = talk.put_manifest(value)
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert wire.decode(talk.http.get(f"/v1/manifests/{value.id}").content, Manifest) == value
    problem(talk.http.get(f"/v1/manifests/{'00' * 32}"), 404, "not_found")


def test_caches_on_the_way_are_told_how_long_an_answer_is_right(talk: Talk) -> None:
    there = talk.publish(b"payload")
    documents = (descriptor(b"payload", PYTHON, BLUEPRINT),)
    value = manifest([there], documents=documents)
    assert talk.put_manifest(value).status_code == 201
    start = build([value], talk.namespace)
    assert talk.put_build(start).status_code == 201
    told = {
        path: talk.http.get(f"/v1/{path}").headers.get("cache-control")
        for path in (
            f"blobs/{digest_of(b'payload')}",
            f"manifests/{value.id}",
            f"builds/{start.key}/documents/{value.id}/{BLUEPRINT}",
            f"artifacts/{there.key}",
            f"builds/{start.key}",
            f"builds/{start.key}/bundle",
            f"artifacts/{'00' * 32}",
        )
    }
    forever, a_moment = "public, max-age=31536000, immutable", "public, max-age=10"
    assert list(told.values()) == [forever, forever, forever, a_moment, a_moment, a_moment, None]


def test_a_manifest_names_only_what_is_there(talk: Talk) -> None:
    there, absent = talk.publish(b"payload"), artifact([descriptor(b"payload")], "never published")
    found = problem(talk.put_manifest(manifest([there, absent])), 409, "artifact_missing")
    assert absent.key in found.detail
    for field in ("documents", "files"):
        value = manifest(
            [there], **{field: (descriptor(b"never uploaded " + field.encode(), PYTHON, "x.py"),)}
        )
        problem(talk.put_manifest(value), 409, "blob_missing")
    lying = replace(descriptor(b"payload", PYTHON, "x.py"), size=1)
    problem(talk.put_manifest(manifest([there], documents=(lying,))), 422, "size_mismatch")
    problem(talk.put_manifest(manifest([there]), "00" * 32), 422, "key_mismatch")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a//b", "a\\b", "."])
def test_names_that_would_leave_their_folder(talk: Talk, name: str) -> None:
    there = talk.publish(b"payload")
    for field in ("documents", "files"):
        value = manifest([there], **{field: (descriptor(b"payload", FILE, name),)})
        problem(talk.put_manifest(value), 400, "malformed")


def test_nothing_twice_in_a_manifest(talk: Talk) -> None:
    there = talk.publish(b"payload")
    value = manifest([there])
    problem(talk.put_manifest(replace(value, entries=value.entries * 2)), 400, "malformed")
    file = descriptor(b"payload", FILE, "x")
    problem(talk.put_manifest(manifest([there], files=(file, file))), 400, "malformed")


def test_builds_unite(talk: Talk) -> None:
    payload = talk.publish(b"payload")
    first, second, third = (manifest([payload], f"outer {at}") for at in range(3))
    for each in (first, second, third):
        talk.put_manifest(each)
    start = build([first, second], talk.namespace)
    answer = talk.put_build(start)
    assert answer.status_code == 201
    assert wire.decode(answer.content, wire.BuildStored) == wire.BuildStored(
        key=start.key, created=True, entries=2
    )
    assert talk.put_build(start).json() == {"key": start.key, "created": False, "entries": 2}
    other = BuildEntry(name=start.entries[0].name, manifest=third.id)
    more = replace(start, entries=(other, other, start.entries[1]))
    assert talk.put_build(more).json()["entries"] == 3
    read = wire.decode(talk.http.get(f"/v1/builds/{start.key}").content, Build)
    assert read == replace(start, entries=(*start.entries, other))


def test_a_build_without_a_label_takes_the_first_it_gets(talk: Talk) -> None:
    start = replace(build([], talk.namespace), model="")
    talk.put_build(start)
    talk.put_build(replace(start, model="Qwen/Qwen3"))
    talk.put_build(replace(start, model="later"))
    assert talk.http.get(f"/v1/builds/{start.key}").json()["model"] == "Qwen/Qwen3"


def test_a_build_names_only_what_is_there(talk: Talk) -> None:
    value = manifest([talk.publish(b"payload")])
    problem(talk.put_build(build([value], talk.namespace)), 409, "artifact_missing")
    talk.put_manifest(value)
    start = build([value], talk.namespace)
    problem(talk.put_build(start, "00" * 32), 422, "key_mismatch")
    problem(talk.put_build(build([value], "elsewhere")), 422, "key_mismatch")
    problem(talk.http.get(f"/v1/builds/{start.key}"), 404, "not_found")


def test_builds_are_listed_in_pages_the_newest_first(talk: Talk) -> None:
    payloads = [talk.publish(b"payload %d" % at, f"graph {at}") for at in range(2)]
    captured = [manifest(payloads, "one"), manifest(payloads[:1], "two")]
    for each in captured:
        talk.put_manifest(each)
    starts = [build(captured, talk.namespace, f"model {at}") for at in range(5)]
    for start in starts:
        talk.put_build(start)
    listed: list[wire.BuildSummary] = []
    cursor: str | None = None
    while True:
        answer = talk.http.get("/v1/builds", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        page = wire.decode(answer.content, wire.BuildPage)
        listed.extend(page.builds)
        cursor = page.next
        if cursor is None:
            break
    assert [each.key for each in listed] == [start.key for start in reversed(starts)]
    assert {(each.entries, each.artifacts) for each in listed} == {(2, 2)}
    assert listed[0].created_at.endswith("Z")


def test_a_bundle_has_each_blob_once_and_no_more_than_is_loaded(talk: Talk) -> None:
    shared = talk.publish(b"shared payload", "shared")
    own = artifact([descriptor(b"own payload"), descriptor(b"source", PYTHON)], "own")
    twin = artifact([descriptor(b"own payload")], "same bytes under another key")
    for data in (b"own payload", b"source", b"blueprint"):
        talk.put_blob(data)
    for each in (own, twin):
        talk.put_artifact(each)
    first = manifest([shared, own, shared], documents=(descriptor(b"blueprint", PYTHON, BLUEPRINT),))
    second = manifest([shared, twin], "second")
    for captured in (first, second):
        talk.put_manifest(captured)
    start = build([first, second], talk.namespace)
    talk.put_build(start)
    index, blobs, order = frames_of(talk, start.key)
    assert index == BundleIndex(build=start, manifests=(first, second), artifacts=(shared, own, twin))
    assert order == [digest_of(b"shared payload"), digest_of(b"own payload")]
    assert set(blobs.values()) == {b"shared payload", b"own payload"}
    problem(talk.http.get(f"/v1/builds/{'00' * 32}/bundle"), 404, "not_found")


def test_a_bundle_brings_the_dispatches_too(talk: Talk) -> None:
    payload, dispatch = talk.publish(b"payload"), talk.publish_dispatch(b"dispatch")
    captured = manifest([payload])
    talk.put_manifest(captured)
    start = build([captured], talk.namespace)
    start = replace(start, entries=(replace(start.entries[0], dispatch=dispatch.key),))
    talk.put_build(start)
    index, blobs, _ = frames_of(talk, start.key)
    assert index == BundleIndex(build=start, manifests=(captured,), artifacts=(dispatch, payload))
    assert set(blobs.values()) == {b"dispatch", b"payload"}


def test_a_bundle_of_a_foreign_folder_has_its_files(talk: Talk) -> None:
    payload = talk.publish(b"payload", scheme_key="a key of vLLM's")
    talk.put_blob(b"a file")
    files = (descriptor(b"a file", FILE, "rank_0_0/model"), descriptor(b"payload", FILE, "rank_0_0/artifact"))
    captured = manifest([payload], scheme="vllm", files=files)
    talk.put_manifest(captured)
    start = build([captured], talk.namespace)
    talk.put_build(start)
    _, blobs, _ = frames_of(talk, start.key)
    assert set(blobs.values()) == {b"payload", b"a file"}


def test_documents_are_read_as_text(talk: Talk) -> None:
    payload = talk.publish(b"payload")
    talk.put_blob(b"<script>blueprint</script>")
    document = descriptor(b"<script>blueprint</script>", PYTHON, BLUEPRINT)
    captured = manifest([payload], documents=(document,))
    talk.put_manifest(captured)
    start = build([captured], talk.namespace)
    talk.put_build(start)
    address = f"/v1/builds/{start.key}/documents/{captured.id}"
    answer = talk.http.get(f"{address}/{BLUEPRINT}")
    assert answer.content == b"<script>blueprint</script>"
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    found = problem(talk.http.get(f"{address}/other.py"), 404, "not_found")
    assert BLUEPRINT in found.detail
    problem(talk.http.get(f"/v1/builds/{start.key}/documents/{'00' * 32}/{BLUEPRINT}"), 404, "not_found")


def test_the_parts_list_in_both_forms(talk: Talk) -> None:
    piece = talk.publish(b"payload", scheme_key="a5vsr", shape=(1, 16384))
    first, second = manifest([piece], "one"), manifest([piece], "two")
    for captured in (first, second):
        talk.put_manifest(captured)
    start = build([first], talk.namespace)
    talk.put_build(start)

    def parts(**query: str) -> object:
        answer = talk.http.get(f"/v1/builds/{start.key}", params={"format": "vllm", **query})
        assert answer.status_code == 200, answer.text
        return ast.literal_eval(answer.text)

    name = "artifact_compile_range_1_16384_subgraph_0"
    assert parts() == {
        ((1, 16384), 0, "inductor_standalone"): {"graph_handle": (name, name), "cache_key": "a5vsr"}
    }
    assert parts(keys="older", folder="/cache") == {
        (None, 0, "inductor_standalone"): ("a5vsr", f"/cache/{name}")
    }
    talk.put_build(build([first, second], talk.namespace))
    found = problem(talk.http.get(f"/v1/builds/{start.key}", params={"format": "vllm"}), 400, "malformed")
    assert second.id in found.detail
    assert parts(manifest=second.id) == parts(manifest=first.id)
    for query in ({"format": "pickle"}, {"format": "vllm", "manifest": "x"}, {"fromat": "vllm"}):
        problem(talk.http.get(f"/v1/builds/{start.key}", params=query), 400, "malformed")
