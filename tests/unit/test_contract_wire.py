"""One strict way to read a message."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from contract_samples import artifact, build, foreign_subject, manifest, subject
from inductory_client.contract import wire
from inductory_client.contract.agreement import Comparison, PartDifference
from inductory_client.contract.artifact import Artifact
from inductory_client.contract.build import Build
from inductory_client.contract.digest import digest_of
from inductory_client.contract.errors import Malformed
from inductory_client.contract.manifest import Manifest
from inductory_client.contract.target import FactorDifference

DIGEST = digest_of(b"x")

PART = PartDifference(media_type="", name="guards", how="different")
COMPARISON = Comparison(differing=1, parts=(PART,))

MESSAGES: list[Any] = [
    artifact(),
    artifact(foreign_subject()),
    manifest(),
    build(),
    wire.BlobsWanted(digests=(DIGEST,)),
    wire.BlobsMissing(missing=()),
    wire.Resolve(artifacts=(wire.ArtifactWanted(key=DIGEST),), target=subject().target),
    wire.Resolved(
        hits=(artifact(),),
        misses=(
            wire.Miss(
                key=DIGEST,
                nearest=wire.Nearest(key=DIGEST, differences=(FactorDifference("cpu.isa", "avx2", None),)),
            ),
        ),
        blobs={DIGEST: b"\x00\xff"},
    ),
    wire.Published(key=DIGEST, outcome="different", signer=DIGEST, comparison=COMPARISON),
    wire.Agreement(
        key=DIGEST,
        signer=DIGEST,
        builder="torch.compile",
        created_at="2026-01-02T03:04:05Z",
        reproduced=0,
        different=1,
        repeats=(
            wire.Repeat(
                signer=DIGEST, builder="vllm", created_at="2026-01-02T03:04:05Z", comparison=COMPARISON
            ),
        ),
    ),
    wire.ManifestStored(id=DIGEST, created=True),
    wire.BuildStored(key=DIGEST, created=False, entries=2),
    wire.Events(events=(wire.Event(kind="hit", at=1.5),)),
    wire.EventsStored(stored=1),
    wire.Status(status="ok", version="0.1.0", checks={"catalog": "ok"}),
    wire.Problem(type="about:blank", title="x", status=404, code="not_found", detail="x", retryable=False),
    wire.LookupPage(entries=(), next=None),
    wire.BuildPage(builds=(), next="cursor"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_round_trip(message: Any) -> None:
    assert wire.decode(wire.encode(message), type(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_an_unknown_field_is_refused(message: Any) -> None:
    misspelt = {**msgspec.to_builtins(message), "retires": 3}
    with pytest.raises(Malformed, match="retires"):
        wire.decode(msgspec.json.encode(misspelt), type(message))


def test_unknown_fields_are_refused_at_any_depth() -> None:
    raw = msgspec.to_builtins(artifact())
    raw["subject"]["descriptors"][0]["url"] = "http://elsewhere"
    with pytest.raises(Malformed, match=r"subject\.descriptors"):
        wire.decode(msgspec.json.encode(raw), Artifact)


def test_every_message_and_struct_of_the_contract_is_frozen_and_strict() -> None:
    structs = {
        value
        for value in vars(wire).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
    }
    assert wire.Artifact in structs
    for struct in structs - {msgspec.Struct}:
        config = struct.__struct_config__
        assert (config.frozen, config.forbid_unknown_fields) == (True, True), struct


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"digests": ["\\ud800"]}',
        b'{"digests": ["\xff"]}',
        b"{}",
        b'{"digests": []} trailing',
        b'{"digests": [1]}',
        b'{"digests": [NaN]}',
        b'{"digests": ["AB"]}',
        b'{"digests": ["../../etc/passwd"]}',
        b'{"digests": ["' + b"AB" * 32 + b'"]}',
        b'{"digests": ["' + b"ab" * 32 + b'\\n"]}',
        b'{"digests": ' + b"[" * 100_000,
        b"{" * 100_000,
    ],
    ids=lambda junk: junk[:24].decode("latin-1"),
)
def test_malformed(junk: bytes) -> None:
    with pytest.raises(Malformed):
        wire.decode(junk, wire.BlobsWanted)


def test_the_reason_names_the_field() -> None:
    with pytest.raises(Malformed, match=r"\$\.digests\[1\]"):
        wire.decode(b'{"digests": ["' + b"ab" * 32 + b'", 5]}', wire.BlobsWanted)


def test_batches_are_bounded() -> None:
    full = wire.BlobsWanted(digests=(DIGEST,) * wire.BATCH_MAX)
    assert wire.decode(wire.encode(full), wire.BlobsWanted) == full
    with pytest.raises(Malformed, match="length"):
        wire.decode(wire.encode(wire.BlobsWanted(digests=(DIGEST,) * (wire.BATCH_MAX + 1))), wire.BlobsWanted)


def edited(message: Any, *path: Any, value: Any) -> bytes:
    """Return `message` as JSON, with `value` put where `path` leads."""
    raw = place = msgspec.to_builtins(message)
    *way, last = path
    for step in way:
        place = place[step]
    place[last] = value
    return msgspec.json.encode(raw)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("subject", "descriptors"), []),
        (("subject", "descriptors", 0, "size"), -1),
        (("subject", "descriptors", 0, "size"), 1 << 31),
        (("subject", "descriptors", 0, "size"), 1.0),
        (("subject", "descriptors", 0, "size"), "5"),
        (("subject", "descriptors", 0, "size"), True),
        (("subject", "descriptors", 0, "digest"), "ab" * 31),
        (("subject", "descriptors", 0, "media_type"), ""),
        (("subject", "descriptors", 0, "name"), "x" * 4097),
        (("subject", "shape"), [1, 2, 3]),
        (("subject", "shape"), "1-2"),
        (("subject", "shape"), 1.5),
        (("subject", "backend"), ""),
        (("subject", "backend"), "a b"),
        (("subject", "backend"), "inductor\n"),
        (("subject", "scheme"), "../x"),
        (("subject", "options"), {"a": 1}),
        (("subject", "target", "factors"), {"a": None}),
        (("subject", "target", "factors"), {str(i): "" for i in range(501)}),
        (("signature", "public_key"), ""),
        (("signature", "public_key"), "not base64!"),
        (("signature", "value"), "QUJD"),
        (("provenance", "compile_seconds"), -1),
        (("provenance", "builder"), None),
    ],
    ids=str,
)
def test_a_field_out_of_bounds(path: tuple[Any, ...], value: Any) -> None:
    with pytest.raises(Malformed):
        wire.decode(edited(artifact(), *path, value=value), Artifact)


@pytest.mark.parametrize("namespace", ["", "A", "-x", "a/b", "a\n", "x" * 65, ".."])
def test_a_namespace_out_of_bounds(namespace: str) -> None:
    with pytest.raises(Malformed):
        wire.decode(edited(build(), "namespace", value=namespace), Build)


def test_a_submodule_index_out_of_bounds() -> None:
    with pytest.raises(Malformed):
        wire.decode(edited(manifest(), "entries", 0, "submodule_index", value=-1), Manifest)


@pytest.mark.parametrize(
    ("field", "value"), [("at", -1), ("at", 1e300), ("count", 0), ("kind", "boast"), ("seconds", -1)]
)
def test_an_event_out_of_bounds(field: str, value: Any) -> None:
    event = wire.Event(kind="hit", at=1.0)
    with pytest.raises(Malformed):
        wire.decode(edited(event, field, value=value), wire.Event)
