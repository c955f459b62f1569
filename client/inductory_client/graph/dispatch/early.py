"""Early: a GPU's libraries awake before the model is there.

A program that says which build it starts and on which GPU (`inductory_client.prefetch(device="cuda:0")`)
imports for seconds, and builds its model. As soon as the build has come and torch is there, a thread
initialises CUDA and has attention and products computed once, as the build's dispatches tell: `waking.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import torch

from inductory_client.client import Client
from inductory_client.contract.wire import ArtifactWanted
from inductory_client.fetch import fetch
from inductory_client.shared import Prefetched, take_prefetched
from inductory_client.trouble import log

from .loading import Found, read_dispatch
from .outer import rebuild_attention
from .waking import wake

WAIT_S_MAX = 60.0
"""For a build; one that comes later has missed what this is for."""
DISPATCHES_MAX = 16


def begin() -> None:
    """Begin for what was prefetched so far and names a GPU. Never raises and never waits."""
    for prefetched in take_prefetched():
        thread = threading.Thread(target=_wake, args=(prefetched,), name="inductory-early", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is on its way out
            return


def _wake(prefetched: Prefetched) -> None:
    try:
        device = torch.device("cuda", torch.device(prefetched.device).index or 0)
        for found in _dispatches(prefetched.client, prefetched.build):
            parts = found.header.parts
            attention = rebuild_attention(parts)
            wake(((call, parts[name].examples) for name, call in attention.items()), device)
    except Exception as error:  # the start itself meets it again, if it means anything
        log.debug("nothing is woken early: %s: %s", type(error).__name__, error)


def _dispatches(client: Client, build_key: str) -> Iterator[Found]:
    """Yield the dispatches of a build once it lies here: signed and whole, for whichever target."""
    client.wait_for_prefetch(build_key, WAIT_S_MAX)
    build = client.cas.build(build_key)
    entries = () if build is None else build.entries
    for key in list(dict.fromkeys(entry.dispatch for entry in entries if entry.dispatch))[:DISPATCHES_MAX]:
        artifact = client.cas.artifact(key)
        if artifact is None:
            continue
        here = fetch(
            [ArtifactWanted(key=key)],
            artifact.subject.target,
            cas=client.cas,
            keyring=client.keyring,
            store=None,
            budget=client.budget,
        )
        if key in here.pieces:
            yield read_dispatch(key, here.pieces[key])
