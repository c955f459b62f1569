"""Nodes that all lack the same keys: `python benchmarks/_cold_nodes.py URL NODES KEYS`. Prints JSON.

A node is a thread with a connection of its own. It asks for leases of all keys, simulates the compile of
those that it was granted, publishes each under its lease, and waits for the rest until it could load all.
What is simulated is the compile: its bytes are random, so that two compiles of one key can be told apart.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from _talk import Compiled, Talk, compiled
from inductory_client.contract.lease import KeysAwaited, Leased, LeasesWanted, Standing
from inductory_client.contract.wire import ArtifactWanted, Published, Resolve, Resolved, decode

PAYLOAD_BYTES = 12_000
COMPILE_S = 0.02
"""What a simulated compile takes."""
LEASE_S = 30.0
WAIT_S = 30.0


@dataclass
class Counted:
    """What all nodes did; whoever adds to it holds the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    compiles: int = 0
    created: int = 0
    refused: int = 0
    digests: set[str] = field(default_factory=set)
    served: int = 0
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    url, nodes, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    graphs = {compiled(graph, b"").artifact.key: graph for graph in (f"cold {at}" for at in range(count))}
    counted, begin = Counted(), threading.Barrier(nodes)
    with ThreadPoolExecutor(nodes) as pool:
        for each in [pool.submit(_node, url, graphs, counted, begin) for _ in range(nodes)]:
            each.result()
    seconds = sorted(counted.seconds)
    print(
        json.dumps(
            {
                "keys": count,
                "nodes": nodes,
                "compiles": counted.compiles,
                "compiles_per_key": counted.created / count,
                "publications_refused": counted.refused,
                "nodes_served": counted.served,
                "different_bytes_per_key": len(counted.digests) / count,
                "p99_s": round(seconds[int(nodes * 0.99)], 3),
            }
        )
    )


def _node(url: str, graphs: dict[str, str], counted: Counted, begin: threading.Barrier) -> None:
    talk, holder, lacking = Talk(url), secrets.token_hex(8), set(graphs)
    begin.wait()
    began = time.perf_counter()
    while lacking:
        asked = LeasesWanted(holder=holder, keys=tuple(sorted(lacking)), seconds=LEASE_S)
        leased = talk.tell("/v1/leases", asked, Leased)
        for lease in leased.granted:
            made = compiled(graphs[lease.key], secrets.token_bytes(PAYLOAD_BYTES))
            _compile(talk, made, lease.token, counted)
        lacking -= {*leased.published, *(each.key for each in leased.granted)}
        is_free = False
        while lacking and not is_free:
            waited = KeysAwaited(keys=tuple(sorted(lacking)), wait_s=WAIT_S)
            standing = talk.tell("/v1/leases:wait", waited, Standing)
            lacking -= set(standing.published)
            is_free = bool(standing.free)
    wanted = tuple(ArtifactWanted(key=key) for key in graphs)
    found = talk.tell("/v1/artifacts:resolve", Resolve(artifacts=wanted), Resolved)
    talk.close()
    with counted.lock:
        counted.served += len(found.hits) == len(graphs)
        counted.digests |= {part.digest for hit in found.hits for part in hit.subject.loaded}
        counted.seconds.append(time.perf_counter() - began)


def _compile(talk: Talk, made: Compiled, token: str, counted: Counted) -> None:
    time.sleep(COMPILE_S)
    status, body = talk.publish(made, token)
    with counted.lock:
        counted.compiles += 1
        counted.created += status == 201 and decode(body, Published).outcome == "created"
        counted.refused += status == 409


if __name__ == "__main__":
    main()
