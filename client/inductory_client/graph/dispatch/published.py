"""What was published of a model: its dispatches, by the build of its start and by key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from inductory_client.contract.errors import InductoryError
from inductory_client.contract.key import DISPATCH_BACKEND
from inductory_client.contract.wire import ArtifactWanted
from inductory_client.graph.factors import current_target
from inductory_client.graph.identity import build_of, identify
from inductory_client.graph.report import GraphReport
from inductory_client.graph.reproducible import PATCHES
from inductory_client.graph.session import Session
from inductory_client.misses import Describe, KeyParts
from inductory_client.trouble import warn_once

from .keying import DispatchKey, beside_identity, dispatch_key, options_of
from .loading import Found, read_dispatch
from .signature import Signature

BUILD_DISPATCHES_MAX = 256


class Published:
    """The dispatches of one model as it is now. Not safe for threads."""

    def __init__(self, model: torch.nn.Module, session: Session, patches: dict[str, Any]) -> None:
        """Looks at the model and the process. Raises Unsupported where they can't be keyed."""
        began = time.perf_counter()
        self.identity = identify(model)
        self.device = device_of(model)
        self.target = current_target({self.device})
        patches = PATCHES | patches if session.settings.reproducible else patches
        self.options = options_of(patches, session.settings.splitting_ops)
        self.build_key = build_of(self.identity, session.settings, self.target).key
        self._beside = beside_identity(model)
        self.bytes_moved = 0
        """Bytes that travelled for it and aren't in a report yet."""
        self.seconds = {"key": time.perf_counter() - began}
        """What it took, by step, and isn't in a report yet."""
        self._session = session
        self._found: dict[str, Found] = {}
        self._asked: set[str] = set()

    def key_of(self, signature: Signature) -> DispatchKey:
        """Return the key of the dispatch for such calls, in the modes that the process is in now."""
        return dispatch_key(self.identity, self._beside, signature, self.target, self.options)

    def bring(self) -> None:
        """Bring the build of the model's start here, if anybody has one. Never raises."""
        began = time.perf_counter()
        build, self.bytes_moved = self._session.client.bring_build(self.build_key)
        self._took("fetch", time.perf_counter() - began)
        entries = () if build is None else build.entries[:BUILD_DISPATCHES_MAX]
        self._fetch(list(dict.fromkeys(entry.dispatch for entry in entries if entry.dispatch is not None)))

    def fitting(self, call: Signature, likely: list[str]) -> Iterator[Found]:
        """Yield those of the build that may be for `call`: under a key of `likely` first, then those in which
        the least varies.

        Their keys are those that they would be given here: a build holds what was made in other modes and
        with other options, too.
        """
        fits = [
            found
            for found in self._found.values()
            if found.header.signature.fits(call) and self.key_of(found.header.signature).key == found.key
        ]
        fits.sort(key=lambda found: (found.key not in likely, found.header.signature.varying))
        yield from fits

    def under(self, key: DispatchKey, signature: Signature) -> Found | None:
        """Return the dispatch of this key, which is for such calls, where the build didn't have it; it is
        asked for once.
        """
        if key.key in self._asked:
            return None
        parts = KeyParts(shape=signature.shape, backend=DISPATCH_BACKEND, options=self.options)
        self._fetch([key.key], key.graph_digest, lambda _: parts)
        return self._found.get(key.key)

    def go_on(self, before: Published) -> None:
        """Go on with what was found when the model was last looked at, its build being the same."""
        self._found, self._asked, self.bytes_moved = before._found, before._asked, before.bytes_moved

    def take(self, key: str) -> None:
        """Don't offer this one again."""
        self._found.pop(key, None)

    def count(self, report: GraphReport) -> None:
        """Count in `report` what it took to find what was used, and hasn't been counted."""
        report.bytes_moved, self.bytes_moved = report.bytes_moved + self.bytes_moved, 0
        for step, seconds in self.seconds.items():
            report.took(step, seconds)
        self.seconds = {}

    def _took(self, step: str, seconds: float) -> None:
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    def _fetch(
        self, keys: list[str], graph_digest: str | None = None, describe: Describe | None = None
    ) -> None:
        self._asked.update(keys)
        if not keys:
            return
        wanted = [ArtifactWanted(key=key, graph_digest=graph_digest) for key in keys]
        fetched = self._session.client.fetch(wanted, self.target, describe=describe, model=self.identity.name)
        self.bytes_moved += fetched.bytes_moved
        self._took("fetch", fetched.seconds)
        self._took("verify", fetched.verify_seconds)
        for key, piece in fetched.pieces.items():
            try:
                self._found[key] = read_dispatch(key, piece)
            except InductoryError as error:
                warn_once(f"dispatch:{error.code}", "a dispatch isn't used: %s", error)


def device_of(model: torch.nn.Module) -> torch.device:
    """Return the device of a model's first parameter or buffer; the CPU for one that has none."""
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device("cpu")
