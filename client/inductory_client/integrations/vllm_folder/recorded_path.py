"""Recorded paths: parts lists hold absolute ones, of the machine that compiled.

    /var/cache/vllm/torch_compile_cache/41c58af59d/rank_0_0/backbone/artifact_...
    `-- the recorded root ------------' `-- the relative path -----------------'

The root isn't kept anywhere else: it is what comes before the part folder's own path, so a cache that was
copied about still says which part of a path is which.
"""

from __future__ import annotations

from inductory_client.contract.descriptor import check_relative_path
from inductory_client.contract.errors import Malformed

from .tree import PartFolder


def relative_path(recorded: str, folder: PartFolder) -> str:
    """Return `recorded` relative to the root it was recorded under. Raises Malformed if it lies elsewhere."""
    at = recorded.rfind(f"/{folder.hash}/{folder.rank}/")
    if not recorded.startswith("/") or at < 0:
        raise Malformed(
            f"the parts list of {folder.path} names {recorded!r}, which lies outside of its folder"
        )
    return check_relative_path(recorded[at + 1 :])
