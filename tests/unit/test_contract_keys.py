"""Keys, fingerprints and ids: pinned, sensitive to what decides the code, blind to the rest.

A golden value that changes here orphans everything that was ever published: change it only together with the
version beside its derivation, and say so in the changelog.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from contract_samples import (
    PAYLOAD_BYTES,
    TARGET,
    build,
    changed,
    describe,
    foreign_subject,
    manifest,
    subject,
)
from inductory_client.contract.artifact import Subject
from inductory_client.contract.build import BuildEntry
from inductory_client.contract.descriptor import FILE, LOADABLE_DISPATCH, NATIVE, PAYLOAD, PYTHON
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Malformed
from inductory_client.contract.key import DISPATCH_BACKEND
from inductory_client.contract.target import FactorDifference, Target, differences

GOLDEN = {
    "target": (
        lambda: TARGET.fingerprint,
        "6936601fe2c4f18c09ad97cabde7861dd60dd98c70d1d55204b7a4fc0dc17bed",
    ),
    "artifact": (lambda: subject().key, "10a224d26c219a6c3be0628459fcd6bf3d20bef7c992e8feedac628cae1eb7de"),
    "foreign artifact": (
        lambda: foreign_subject().key,
        "bd7f35d963d657779cc4378e51a56d9ae42ad04da45bc3567adec69de27d56bb",
    ),
    "manifest": (lambda: manifest().id, "9f799b30c6d537391cfe8d1b8b8233833b52dbda22d312ceff5c67b1d70b6670"),
    "build": (lambda: build().key, "5349e3a9b4f11013e4a058cf7c43a21366755c215c18292217e335cec697a89e"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    derive, pinned = GOLDEN[name]
    assert derive() == pinned


def test_a_fingerprint_can_be_made_by_hand() -> None:
    text = b'{"factors":{"cpu.isa":"avx2","torch.version":"2.13.0"},"version":1}'
    assert TARGET.fingerprint == hashlib.sha256(text).hexdigest()


OTHER_TARGET = Target(TARGET.factors | {"cpu.isa": "avx512"})

DECIDES_THE_CODE = [
    {"graph_digest": digest_of(b"another graph")},
    {"shape": (1, 16383)},
    {"shape": 16384},
    {"shape": None},
    {"backend": "eager"},
    {"options": {}},
    {"options": {"max_autotune": "True"}},
    {"target": OTHER_TARGET},
]


def test_all_that_decides_the_code_is_in_the_key() -> None:
    keys = [subject().key, *(subject(**changes).key for changes in DECIDES_THE_CODE), foreign_subject().key]
    assert len(set(keys)) == len(keys)


def test_a_foreign_key_depends_on_scheme_key_shape_backend_and_target() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"scheme": "triton"},
        {"scheme_key": "abc124"},
        {"shape": 8},
        {"backend": "eager"},
        {"target": OTHER_TARGET},
    ]
    assert len({foreign_subject(**change).key for change in changes}) == len(changes)


@pytest.mark.parametrize(
    "changes",
    [{"descriptors": (describe(b"other bytes"),)}, {"guards": ("z0 > 1",)}],
    ids=["bytes", "guards"],
)
def test_what_a_compile_made_is_not_in_the_key(changes: dict[str, Any]) -> None:
    assert subject(**changes).key == subject().key


def test_the_order_of_options_and_factors_is_not_in_the_key() -> None:
    options = {"a": "1", "b": "2"}
    backwards = dict(reversed(options.items()))
    factors = dict(reversed(TARGET.factors.items()))
    assert subject(options=options).key == subject(options=backwards, target=Target(factors)).key


def test_a_foreign_key_does_not_depend_on_what_is_known_of_the_graph() -> None:
    assert foreign_subject(graph_digest=digest_of(b"")).key == foreign_subject().key


@pytest.mark.parametrize(
    "crossed",
    [
        subject(graph_digest=None),
        subject(scheme_key="abc"),
        foreign_subject(scheme_key=None),
    ],
    ids=[
        "ours without a graph",
        "ours with a foreign key",
        "foreign without its key",
    ],
)
def test_the_fields_of_one_scheme_do_not_fit_another(crossed: Subject) -> None:
    with pytest.raises(Malformed, match="scheme"):
        _ = crossed.key


def test_a_shape_that_makes_no_sense_has_no_key() -> None:
    with pytest.raises(Malformed, match="not a shape"):
        _ = subject(shape=(5, 1)).key


def test_a_load_reads_payload_native_files_and_dispatch() -> None:
    assert [descriptor.media_type for descriptor in subject().loaded] == [PAYLOAD, NATIVE]
    assert subject().loaded[0].digest == digest_of(PAYLOAD_BYTES)
    dispatch = describe(b"a dispatch", LOADABLE_DISPATCH)
    readable = describe(b"class GraphModule: ...", PYTHON)
    assert subject(descriptors=(readable, dispatch), backend=DISPATCH_BACKEND).loaded == (dispatch,)


def test_what_a_machine_must_have_at_least_is_signed_and_not_in_the_key() -> None:
    plain, demanding = subject(), subject(requires={"cuda.driver": "550.54"})
    assert demanding.key == plain.key
    assert demanding.signed_bytes != plain.signed_bytes


def test_documents_are_not_in_a_manifests_id_and_files_are() -> None:
    plain = manifest()
    assert manifest(documents=()).id == plain.id
    assert manifest(documents=(describe(b"x", PYTHON, "transformed_code.py"),)).id == plain.id
    one = manifest(files=(describe(b"1", FILE, "rank_0_0/a"),))
    other = manifest(files=(describe(b"2", FILE, "rank_0_0/a"),))
    assert len({plain.id, one.id, other.id}) == 3


def test_graph_guards_and_the_order_of_entries_are_in_a_manifests_id() -> None:
    plain = manifest()
    first, second = plain.entries
    others = [
        manifest(graph_digest=digest_of(b"x")),
        manifest(guards_digest=digest_of(b"x")),
        manifest(entries=(second, first)),
        manifest(entries=(first,)),
        manifest(entries=(first, changed(second, artifact=digest_of(b"x")))),
        manifest(entries=(first, changed(second, submodule_index=1))),
        manifest(entries=(first, changed(second, shape=8))),
        manifest(scheme="vllm"),
    ]
    assert len({plain.id, *(other.id for other in others)}) == 1 + len(others)


def test_a_builds_key_is_known_before_anything_is_captured() -> None:
    plain = build()
    assert build(entries=()).key == plain.key
    assert build(entries=(BuildEntry(name="decode", manifest=digest_of(b"m")),)).key == plain.key
    assert build(model="another label").key == plain.key


def test_what_a_start_is_of_is_in_a_builds_key() -> None:
    others = [
        build(namespace="team"),
        build(component="draft"),
        build(sources=digest_of(b"x")),
        build(config=digest_of(b"x")),
        build(rank_layout={"tensor_parallel_rank": "1"}),
        build(target=OTHER_TARGET),
    ]
    assert len({build().key, *(other.key for other in others)}) == 1 + len(others)


def test_differences_name_the_factors() -> None:
    theirs = Target({"torch.version": "2.12.0", "autocast.cuda": "bfloat16"})
    assert differences(TARGET, TARGET) == ()
    found = differences(TARGET, theirs)
    assert found == (
        FactorDifference("cpu.isa", "avx2", None),
        FactorDifference("torch.version", "2.13.0", "2.12.0"),
        FactorDifference("autocast.cuda", None, "bfloat16"),
    )
    assert [str(difference) for difference in found] == [
        "cpu.isa: avx2 here, absent there",
        "torch.version: 2.13.0 here, 2.12.0 there",
        "autocast.cuda: absent here, bfloat16 there",
    ]
