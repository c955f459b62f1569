"""A fleet's catalog of any size, made up: the rows that publishing so many builds would leave, by COPY.

A build has two graphs, each with 16 submodules in five shapes, and equal layers share: 40 artifacts and 160
entries. An artifact has three blobs, one of them shared with its neighbour. Ten builds have one model, and
100 targets are used by builds as unevenly as machines are spread. Records are real messages of the contract;
their digests stand for bytes that aren't there, so they are read, not loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

import psycopg
from inductory_client.contract.artifact import Artifact, Subject
from inductory_client.contract.build import Build, BuildEntry
from inductory_client.contract.descriptor import NATIVE, PAYLOAD, PYTHON, Descriptor
from inductory_client.contract.manifest import Manifest, ManifestEntry
from inductory_client.contract.provenance import Provenance
from inductory_client.contract.shape import Shape, shape_text
from inductory_client.contract.statement import Signature
from inductory_client.contract.target import Target
from inductory_client.contract.wire import encode

NAMESPACE = "default"
BACKEND = "inductor"
SHAPES: tuple[Shape, ...] = ((1, 16384), 1, 8, 64, 256)
SUBMODULES = 16
DISTINCT = 4
"""Pieces a graph and shape: the first, two kinds in the middle, the last."""
GRAPHS = 2
ARTIFACTS_PER_BUILD = GRAPHS * len(SHAPES) * DISTINCT
BUILDS_PER_MODEL = 10
TARGETS = 100
_FIRST_AT = 1_790_000_000.0
_COLUMNS = {
    "blob": "digest, size, packed_size, state, created_at",
    "artifact": "namespace, key, scheme, graph_digest, shape, backend, options, target, state, signer, "
    "compile_seconds, payload, payload_size, used, created_at, record",
    "artifact_blob": "namespace, artifact, position, media_type, name, digest, size, loaded",
    "manifest": "namespace, id, scheme, graph_digest, guards_digest, submodules, built, created_at, record",
    "manifest_entry": "namespace, manifest, submodule_index, shape, backend, artifact",
    "build": "namespace, key, component, model, sources, config, target, created_at, record",
    "build_entry": "namespace, build, position, name, manifest, record",
}

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Piece:
    """An artifact as it is asked for."""

    key: str
    graph: str
    target: int
    payload: str
    twin: str
    """What it has in common with its neighbour in the graph."""
    is_first: bool
    """Whether it comes before that one."""


def digest(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


@cache
def target(number: int) -> Target:
    """Return one of the targets, with two dozen factors."""
    factors = {f"inductor.config.option_{at:02}": digest("option", at)[:12] for at in range(19)}
    kinds = {"device.name": f"NVIDIA H{100 + number % 5}", "torch.version": f"2.{13 + number // 50}.0"}
    return Target({**factors, **kinds, "cpu.isa": "avx512", "python": "3.12", "build": str(number)})


@cache
def fingerprint(number: int) -> str:
    return target(number).fingerprint


def target_of(build: int) -> int:
    """Return which target a build is for: a few of them have most."""
    return int(TARGETS * (int(digest("t", build)[:8], 16) / 2**32) ** 3)


def model_of(build: int) -> str:
    return f"organisation/model-{build // BUILDS_PER_MODEL}"


def piece(build: int, graph: int, shape: int, at: int) -> Piece:
    place = (build, graph, shape, at)
    of_graph = (build // BUILDS_PER_MODEL, graph, at)
    return Piece(
        key=digest("key", *place),
        graph=digest("graph", *of_graph),
        target=target_of(build),
        payload=digest("payload", *place),
        twin=digest("twin", build, graph, shape, at // 2),
        is_first=at % 2 == 0,
    )


def build_key(build: int) -> str:
    return digest("build", build)


def manifest_id(build: int, graph: int) -> str:
    return digest("manifest", build, graph)


def fill(url: str, builds: int, workers: int = 2) -> None:
    """Fill a migrated and empty catalog; keys and indexes are made after the rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        again = _without_indexes(connection)
        rows = [(fingerprint(number), _FIRST_AT) for number in range(TARGETS)]
        _copy(connection, "target", "fingerprint, created_at", rows)
        factors = [
            (fingerprint(number), name, value)
            for number in range(TARGETS)
            for name, value in target(number).factors.items()
        ]
        _copy(connection, "target_factor", "target, name, value", factors)
        bounds = [builds * at // (4 * workers) for at in range(4 * workers + 1)]
        portions = [(url, *pair) for pair in pairwise(bounds)]
        with get_context("spawn").Pool(workers) as pool:
            pool.starmap(_fill_portion, portions, chunksize=1)
        with ThreadPoolExecutor(workers) as threads:
            for stage in again:
                list(threads.map(lambda statement: _execute(url, statement), stage))
        connection.execute(b"VACUUM (ANALYZE)")


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def _without_indexes(connection: psycopg.Connection[Any]) -> list[list[str]]:
    """Take keys and indexes away; return the statements, in stages, that make them again as they were."""
    constraints = connection.execute(
        "SELECT conrelid::regclass, quote_ident(conname), contype::text, pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'p') ORDER BY 3"
    ).fetchall()
    for table, name, _, _ in constraints:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE".encode())
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f'DROP INDEX "{name}"'.encode())
    # Rows were made in step with one another: what refers to what needn't be looked up again.
    added = {
        kind: [
            f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}" + (" NOT VALID" if kind == "f" else "")
            for table, name, its, text in constraints
            if its == kind
        ]
        for kind in "pf"
    }
    foreign = [["; ".join(added["f"])]]
    return [[*added["p"]], [text for _, text in indexes], *foreign]


def _fill_portion(url: str, first: int, last: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for start in range(first, last, 100):
            rows: Rows = {name: [] for name in _COLUMNS}
            for number in range(start, min(start + 100, last)):
                _add_build(rows, number)
            for name, columns in _COLUMNS.items():
                _copy(connection, name, columns, rows[name])


def _copy(
    connection: psycopg.Connection[Any], table: str, columns: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    lines = ("\t".join(map(str, row)) for row in rows)
    with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
        copy.write("\n".join(lines))


def _add_build(rows: Rows, number: int) -> None:
    its_target = fingerprint(target_of(number))
    for graph in range(GRAPHS):
        found = [[piece(number, graph, shape, at) for at in range(DISTINCT)] for shape in range(len(SHAPES))]
        for of_shape, its_pieces in zip(SHAPES, found, strict=True):
            for each in its_pieces:
                _add_artifact(rows, each, of_shape)
        _add_manifest(rows, number, graph, found)
        entry = BuildEntry(name=f"forward{graph}", manifest=manifest_id(number, graph))
        row = (NAMESPACE, build_key(number), graph, entry.name, entry.manifest, _text(entry))
        rows["build_entry"].append(row)
    record = Build(
        model=model_of(number),
        sources=digest("sources", number),
        config=digest("config", number),
        target=target(target_of(number)),
        entries=(),
    )
    place = (NAMESPACE, build_key(number), "", model_of(number))
    rows["build"].append(
        (*place, record.sources, record.config, its_target, _FIRST_AT + number, _text(record))
    )


def _add_artifact(rows: Rows, found: Piece, shape: Shape) -> None:
    described = (
        Descriptor(media_type=PAYLOAD, digest=found.payload, size=20_000),
        # What equal kernels share; its neighbour in the graph has it, too.
        Descriptor(media_type=NATIVE, name="kernel.so", digest=digest("n", found.twin), size=30_000),
        Descriptor(media_type=PYTHON, name="output_code.py", digest=digest("s", found.key), size=9_000),
    )
    subject = Subject(
        graph_digest=found.graph,
        shape=shape,
        backend=BACKEND,
        target=target(found.target),
        descriptors=described,
    )
    signature = Signature(public_key=b"k" * 32, value=hashlib.sha512(found.key.encode()).digest())
    provenance = Provenance(builder="a worker", created_at="2026-09-01T00:00:00Z", compile_seconds=2.5)
    value = Artifact(subject=subject, signature=signature, provenance=provenance)
    said = (subject.scheme, found.graph, shape_text(shape), BACKEND, "{}", fingerprint(found.target))
    counted = ("ready", signature.signer, 2.5, found.payload, 20_000, "t", _FIRST_AT)
    rows["artifact"].append((NAMESPACE, found.key, *said, *counted, _text(value)))
    for position, each in enumerate(described):
        loaded = "f" if each.media_type == PYTHON else "t"
        place = (NAMESPACE, found.key, position, each.media_type, each.name)
        rows["artifact_blob"].append((*place, each.digest, each.size, loaded))
        if each.media_type != NATIVE or found.is_first:
            rows["blob"].append((each.digest, each.size, each.size // 3, "ready", _FIRST_AT))


def _add_manifest(rows: Rows, number: int, graph: int, found: list[list[Piece]]) -> None:
    entries = tuple(
        ManifestEntry(
            shape=of_shape,
            submodule_index=submodule,
            backend=BACKEND,
            artifact=its_pieces[submodule * DISTINCT // SUBMODULES].key,
        )
        for of_shape, its_pieces in zip(SHAPES, found, strict=True)
        for submodule in range(SUBMODULES)
    )
    value = Manifest(
        graph_digest=digest("outer", number // BUILDS_PER_MODEL, graph),
        guards_digest=digest("guards", number),
        submodules=SUBMODULES,
        entries=entries,
    )
    place = (NAMESPACE, manifest_id(number, graph), value.scheme, value.graph_digest, value.guards_digest)
    rows["manifest"].append((*place, SUBMODULES, "t", _FIRST_AT, _text(value)))
    for each in entries:
        of_entry = (each.submodule_index, shape_text(each.shape), BACKEND, each.artifact)
        rows["manifest_entry"].append((NAMESPACE, manifest_id(number, graph), *of_entry))


def _text(message: Any) -> str:
    """Return a message as COPY takes it: JSON in ASCII without backslashes stands for itself."""
    text = encode(message).decode("ascii")
    assert "\\" not in text
    return text
