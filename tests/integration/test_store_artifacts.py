"""Artifacts over HTTP: publishing, resolving, looking up."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from inductory_client.contract import wire
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.blob import unpack
from inductory_client.contract.descriptor import PYTHON
from inductory_client.contract.digest import digest_of
from inductory_client.contract.target import FactorDifference, Target
from msgspec.structs import replace
from store_messages import TARGET, Talk, artifact, build, descriptor, manifest, problem, sign
from store_process import StoreProcess


@pytest.fixture
def talk(any_store_url: str, request: pytest.FixtureRequest) -> Iterator[Talk]:
    """A namespace of its own for each test."""
    talk = Talk(any_store_url, "artifacts-" + digest_of(request.node.name.encode())[:12])
    yield talk
    talk.http.close()


def outcome(answer: object) -> wire.Published:
    return wire.decode(answer.content, wire.Published)  # type: ignore[attr-defined]


def test_publish_and_read_back(talk: Talk) -> None:
    value = artifact([descriptor(b"payload"), descriptor(b"source", PYTHON, "code.py")])
    talk.put_blob(b"payload")
    talk.put_blob(b"source")
    answer = talk.put_artifact(value)
    assert answer.status_code == 201
    signer = value.signature.signer
    assert outcome(answer) == wire.Published(key=value.key, outcome="created", signer=signer)
    read = talk.http.get(f"/v1/artifacts/{value.key}")
    assert wire.decode(read.content, Artifact) == value


def test_publishing_again_is_idempotent_and_counts_nothing(talk: Talk) -> None:
    value = talk.publish(b"payload")
    answer = talk.put_artifact(value)
    assert (answer.status_code, outcome(answer).outcome) == (200, "reproduced")


def test_the_first_writer_wins_and_later_ones_are_compared(talk: Talk) -> None:
    first = talk.publish(b"payload one", compile_seconds=1.0)
    again = talk.put_artifact(artifact(first.subject.descriptors, compile_seconds=2.0))
    assert (again.status_code, outcome(again).outcome) == (200, "reproduced")
    talk.put_blob(b"payload two")
    other = talk.put_artifact(artifact([descriptor(b"payload two")]))
    assert other.status_code == 200
    assert outcome(other).outcome == "different"
    assert str(outcome(other).comparison) == "payload"
    assert wire.decode(talk.http.get(f"/v1/artifacts/{first.key}").content, Artifact) == first


def test_a_later_publisher_is_told_whose_artifact_is_kept(talk: Talk) -> None:
    """Its own machines may trust its key alone, and would be refused what the store has."""
    first = talk.publish(b"payload")
    later = artifact(first.subject.descriptors, key=Ed25519PrivateKey.generate())
    told = outcome(talk.put_artifact(later))
    assert (told.outcome, told.signer) == ("reproduced", first.signature.signer)
    assert told.signer != later.signature.signer


def test_namespaces_do_not_see_each_other(talk: Talk) -> None:
    value = talk.publish(b"payload")
    other = talk.http.get(f"/v1/artifacts/{value.key}", params={"namespace": "another"})
    problem(other, 404, "not_found")
    problem(talk.http.get("/v1/artifacts", params={"namespace": "No Such"}), 400, "malformed")


def test_a_key_that_is_not_the_subjects(talk: Talk) -> None:
    talk.put_blob(b"payload")
    problem(talk.put_artifact(artifact([descriptor(b"payload")]), "ab" * 32), 422, "key_mismatch")


def test_unsigned_foreign_and_reused_signatures(talk: Talk) -> None:
    talk.put_blob(b"payload")
    good = artifact([descriptor(b"payload")])
    nothing = replace(good, signature=replace(good.signature, value=bytes(64)))
    problem(talk.put_artifact(nothing), 403, "bad_signature")
    foreign = sign(good.subject, Ed25519PrivateKey.generate())
    swapped = replace(good, signature=replace(good.signature, public_key=foreign.public_key))
    problem(talk.put_artifact(swapped), 403, "bad_signature")
    elsewhere = artifact([descriptor(b"payload")], target=Target({"cpu.isa": "avx512"}))
    problem(talk.put_artifact(replace(elsewhere, signature=good.signature)), 403, "bad_signature")
    problem(talk.http.get(f"/v1/artifacts/{good.key}"), 404, "not_found")


def test_only_allowed_signers_publish_where_they_are_listed(tmp_path: Path) -> None:
    mine, theirs = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    good = artifact([descriptor(b"payload")], key=mine)
    environ = {"INDUCTORY_STORE_SIGNERS": good.signature.signer}
    with StoreProcess(tmp_path / "store", environ) as store:
        talk = Talk(store.url, "default")
        talk.put_blob(b"payload")
        problem(talk.put_artifact(artifact([descriptor(b"payload")], key=theirs)), 403, "untrusted_signer")
        assert talk.put_artifact(good).status_code == 201
        talk.http.close()


def test_no_name_before_its_bytes(talk: Talk) -> None:
    absent = artifact([descriptor(b"bytes that nobody uploaded")])
    found = problem(talk.put_artifact(absent), 409, "blob_missing")
    assert absent.subject.descriptors[0].digest in found.detail
    talk.put_blob(b"payload")
    lying = replace(descriptor(b"payload"), size=8)
    problem(talk.put_artifact(artifact([lying])), 422, "size_mismatch")


@pytest.mark.parametrize("shape", ["-1", "1" + "0" * 19, "[9,1]", "[-2,3]", "[1,2,3]", "true"])
def test_a_shape_that_is_none(talk: Talk, shape: str) -> None:
    """It would stand in SQL as a text that nobody can read back."""
    good = talk.publish(b"payload")
    captured = manifest([good])
    for address, message in ((f"artifacts/{good.key}", good), (f"manifests/{captured.id}", captured)):
        body = wire.encode(message).replace(b'"shape":[1,16384]', b'"shape":' + shape.encode())
        answer = talk.http.put(f"/v1/{address}", content=body)
        assert wire.decode(answer.content, wire.Problem).code in ("malformed", "key_mismatch")
    assert talk.http.get("/v1/artifacts").status_code == 200


def test_schemes_say_which_fields_they_have(talk: Talk) -> None:
    value = artifact([descriptor(b"payload")], scheme_key="a key of vLLM's")
    mixed = replace(value, subject=replace(value.subject, scheme="inductory"))
    problem(talk.put_artifact(mixed, value.key), 400, "malformed")
    talk.put_blob(b"payload")
    assert talk.put_artifact(value).status_code == 201


def test_many_publish_one_key_at_once(talk: Talk) -> None:
    talk.put_blob(b"payload")
    values = [artifact([descriptor(b"payload")], compile_seconds=float(at)) for at in range(12)]
    with ThreadPoolExecutor(6) as pool:
        outcomes = sorted(outcome(answer).outcome for answer in pool.map(talk.put_artifact, values))
    assert outcomes == ["created"] + ["reproduced"] * 11


def test_resolve_gives_hits_with_their_blobs_and_misses(talk: Talk) -> None:
    values = [talk.publish(f"payload {at}".encode(), f"graph {at}") for at in range(3)]
    resolved = talk.resolve(values[2].key, "00" * 32, values[0].key, values[2].key, target=TARGET)
    assert resolved.hits == (values[2], values[0])
    assert resolved.misses == (wire.Miss(key="00" * 32),)
    assert {digest: unpack(packed, 9) for digest, packed in resolved.blobs.items()} == {
        digest_of(b"payload 2"): b"payload 2",
        digest_of(b"payload 0"): b"payload 0",
    }


def test_only_what_is_loaded_and_small_travels_inline(talk: Talk) -> None:
    incompressible = bytes(hash_ for at in range(3000) for hash_ in bytes.fromhex(digest_of(b"%d" % at)))
    large = talk.publish(incompressible, "large")
    small = artifact([descriptor(b"small"), descriptor(b"to read", PYTHON)], "small")
    talk.put_blob(b"small")
    talk.put_blob(b"to read")
    talk.put_artifact(small)
    resolved = talk.resolve(large.key, small.key)
    assert len(resolved.hits) == 2
    assert set(resolved.blobs) == {digest_of(b"small")}
    assert talk.resolve(small.key, inline_bytes_max=0).blobs == {}


def test_a_miss_names_the_nearest_and_what_differs(talk: Talk) -> None:
    far = Target({"cpu.isa": "avx512", "torch": "2.12.0", "python": "3.13"})
    near = Target({"cpu.isa": "avx512", "torch": "2.13.0"})
    talk.publish(b"far", target=far)
    nearest = talk.publish(b"near", target=near)
    wanted = wire.ArtifactWanted(key="00" * 32, graph_digest=digest_of(b"graph"))
    unknown = wire.ArtifactWanted(key="11" * 32, graph_digest=digest_of(b"another graph"))
    asked = wire.Resolve(artifacts=(wanted, unknown), target=TARGET)
    answer = talk.http.post("/v1/artifacts:resolve", content=wire.encode(asked))
    explained, unexplained = wire.decode(answer.content, wire.Resolved).misses
    assert explained.nearest == wire.Nearest(
        key=nearest.key, differences=(FactorDifference("cpu.isa", "avx2", "avx512"),)
    )
    assert unexplained.nearest is None


def test_look_up_by_each_filter(talk: Talk) -> None:
    pieces = [talk.publish(b"piece %d" % at, f"graph {at}", shape=(1, 2**at)) for at in range(3)]
    alone = talk.publish(b"nobody names me", "alone", shape=8)
    captured = manifest([*pieces, pieces[0]])
    talk.put_manifest(captured)
    start = build([captured], talk.namespace, "Qwen/Qwen3")
    talk.put_build(start)

    def found(**filters: object) -> list[tuple[int | None, str]]:
        answer = talk.http.get("/v1/artifacts", params=filters)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        page = wire.decode(answer.content, wire.LookupPage)
        return [(entry.submodule_index, entry.artifact) for entry in page.entries]

    used = [(index, each.key) for index, each in enumerate([*pieces, pieces[0]])]
    assert found() == [(None, alone.key), *used]
    assert found(shape="8") == [(None, alone.key)]
    assert found(shape="1-4") == [(2, pieces[2].key)]
    assert found(submodule_index=3) == [(3, pieces[0].key)]
    assert found(backend="inductor") == [(None, alone.key), *used]
    assert found(backend="eager") == []
    assert found(model="Qwen/Qwen3") == used
    assert found(target=TARGET.fingerprint, submodule_index=1) == [(1, pieces[1].key)]
    assert found(digest=digest_of(b"piece 0")) == [(0, pieces[0].key), (3, pieces[0].key)]
    assert found(build=start.key) == found(manifest=captured.id) == used
    assert found(scheme="vllm") == []
    answer = talk.http.get("/v1/artifacts", params={"shape": "1-1"})
    entry = wire.decode(answer.content, wire.LookupPage).entries[0]
    assert entry == wire.LookupEntry(
        artifact=pieces[0].key,
        scheme="inductory",
        scheme_key=None,
        shape=(1, 1),
        submodule_index=0,
        backend="inductor",
        manifest=captured.id,
        build=start.key,
        model="Qwen/Qwen3",
        target=TARGET.fingerprint,
        digest=digest_of(b"piece 0"),
        size=7,
        compile_seconds=2.5,
        signer=pieces[0].signature.signer,
        reproduced=0,
        different=0,
    )


def test_pages_are_stable_while_others_publish(talk: Talk) -> None:
    before = {talk.publish(b"piece %d" % at, f"graph {at}").key for at in range(7)}
    seen: list[str] = []
    cursor: str | None = None
    while True:
        answer = talk.http.get("/v1/artifacts", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        page = wire.decode(answer.content, wire.LookupPage)
        assert len(page.entries) <= 2
        seen.extend(entry.artifact for entry in page.entries)
        cursor = page.next
        if cursor is None:
            break
        talk.publish(b"published meanwhile %d" % len(seen), f"meanwhile {len(seen)}")
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


@pytest.mark.parametrize(
    "query",
    [
        "shape=wide",
        "shape=9-1",
        "submodule_index=first",
        "limit=0",
        "limit=501",
        "cursor=nonsense",
        "submodul_index=1",
        "cursor=WzFd",
    ],
)
def test_a_question_that_makes_no_sense(talk: Talk, query: str) -> None:
    name, _, text = query.partition("=")
    problem(talk.http.get("/v1/artifacts", params={name: text}), 400, "malformed")


def test_every_page_continues_where_the_last_one_ended(talk: Talk) -> None:
    """Over artifacts nobody names, manifests without a build, and builds that share a manifest."""
    pieces = [talk.publish(b"piece %d" % at, f"graph {at}", shape=at + 1) for at in range(4)]
    unused = {talk.publish(b"unused %d" % at, f"unused {at}").key for at in range(3)}
    shared, loose, other = (
        manifest(some, f"outer {at}") for at, some in enumerate((pieces, pieces[:2], pieces[2:]))
    )
    for each in (shared, loose, other):
        talk.put_manifest(each)
    # Under two names in one build, a manifest is still one use of each of its artifacts.
    builds = [build([shared, other, shared], talk.namespace, "one"), build([shared], talk.namespace, "two")]
    for start in builds:
        talk.put_build(start)
    expected = {(None, None, key) for key in unused}
    expected |= {(None, loose.id, each.key) for each in pieces[:2]}
    expected |= {(start.key, shared.id, each.key) for start in builds for each in pieces}
    expected |= {(builds[0].key, other.id, each.key) for each in pieces[2:]}
    for limit in (1, 2, 5, 500):
        seen = everything(talk, limit=limit)
        assert len(seen) == len(expected)
        assert {(each.build, each.manifest, each.artifact) for each in seen} == expected
        assert seen == sorted(seen, key=lambda each: (each.build or "", each.manifest or ""))
    assert len(everything(talk, limit=1, manifest=loose.id)) == 2
    assert len(everything(talk, limit=1, build=builds[0].key)) == 6
    assert len(everything(talk, limit=1, model="two")) == 4
    assert len(everything(talk, limit=1, shape="1", scheme="inductory")) == 3


def test_those_of_a_target_come_artifact_by_artifact(talk: Talk) -> None:
    """Over all kinds of rows, and more of them than are taken from the index at first."""
    there = Target({"torch": "2.99.0"})
    pieces = [
        talk.publish(b"piece %d" % at, f"graph {at}", shape=at + 1, target=(TARGET, there)[at % 2])
        for at in range(24)
    ]
    unused = talk.publish(b"unused", "unused", target=there)
    dispatch = talk.publish_dispatch(b"dispatch")
    shared, loose, other = (
        manifest(some, f"outer {at}") for at, some in enumerate((pieces, pieces[:5], pieces[9:]))
    )
    for each in (shared, loose, other):
        talk.put_manifest(each)
    one = build([shared, other, shared], talk.namespace, "one")
    one = replace(one, entries=(replace(one.entries[0], dispatch=dispatch.key), *one.entries[1:]))
    for start in (one, build([shared], talk.namespace, "two")):
        assert talk.put_build(start).is_success
    rows = everything(talk, limit=500)
    assert {unused.key, dispatch.key} < {each.artifact for each in rows}
    for target, limit in itertools.product((TARGET, there), (1, 2, 7, 500)):
        expected = [each for each in rows if each.target == target.fingerprint]
        expected.sort(key=lambda each: each.artifact)  # which leaves the order of an artifact's uses as it is
        assert len(expected) > 20
        assert everything(talk, limit=limit, target=target.fingerprint) == expected
    assert everything(talk, target="0" * 64) == []


def everything(talk: Talk, **query: object) -> list[wire.LookupEntry]:
    """Turn all pages."""
    seen: list[wire.LookupEntry] = []
    while True:
        answer = talk.http.get("/v1/artifacts", params=query)  # type: ignore[arg-type]
        page = wire.decode(answer.content, wire.LookupPage)
        seen.extend(page.entries)
        if page.next is None:
            return seen
        query["cursor"] = page.next


@pytest.mark.parametrize("index", [2**63, -(2**63) - 1, 10**30, -2, 1_000_001])
def test_a_cursor_that_this_store_never_gave(talk: Talk, index: int) -> None:
    for place in (["", "", index, "any", "inductor", "ab" * 32], ["\x00", "", 1, "any", "inductor", ""]):
        text = base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")
        problem(talk.http.get("/v1/artifacts", params={"cursor": text}), 400, "malformed")


@pytest.mark.parametrize("place", [[-1, "ab" * 32], [1e13, "ab" * 32], [1.0, "\x00"], [1.0, "ab"]])
def test_a_cursor_of_builds_that_this_store_never_gave(talk: Talk, place: list[object]) -> None:
    text = base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")
    problem(talk.http.get("/v1/builds", params={"cursor": text}), 400, "malformed")
