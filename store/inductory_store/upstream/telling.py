"""Uses near the nodes, told upstream: what a rack starts from every day must not be unused there.

Who asks a store for something uses it. So upstream is asked anew for what was used here, and what it says
doesn't matter: an answer for each artifact, build and manifest in six hours, which is how rarely a use is
noted here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlencode

from inductory_client.contract.build import Build
from inductory_client.contract.errors import NotFound
from inductory_client.contract.manifest import Manifest
from inductory_client.contract.wire import ArtifactWanted, Resolve, Resolved

from inductory_store.uses import Use

from .exchange import Exchange
from .pulling import ARTIFACTS_A_QUESTION


def tell_uses(exchange: Exchange, uses: Iterable[Use]) -> None:
    """Tell upstream what was used here. Raises UpstreamUnavailable, UpstreamWrong and UpstreamLoop."""
    artifacts: defaultdict[str, list[str]] = defaultdict(list)
    for use in sorted(uses):
        if use.kind == "artifact":
            artifacts[use.namespace].append(use.key)
            continue
        path = f"/v1/{use.kind}s/{use.key}?{urlencode({'namespace': use.namespace})}"
        with suppress(NotFound):  # deleted there: what is here stays
            exchange.ask("GET", path, Build if use.kind == "build" else Manifest)
    for namespace, keys in artifacts.items():
        path = f"/v1/artifacts:resolve?{urlencode({'namespace': namespace})}"
        for start in range(0, len(keys), ARTIFACTS_A_QUESTION):
            wanted = tuple(ArtifactWanted(key=key) for key in keys[start : start + ARTIFACTS_A_QUESTION])
            exchange.ask("POST", path, Resolved, Resolve(artifacts=wanted, inline_bytes_max=0))
