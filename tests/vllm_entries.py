"""Models that vLLM's plugin published, taken from a store and published again with something changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inductory_client.client import Client
from inductory_client.contract.descriptor import CACHE_FILE
from inductory_client.contract.target import Target
from inductory_client.contract.wire import Artifact
from inductory_client.foreign import Files
from inductory_client.integrations.vllm.model import BACKEND
from inductory_client.publication import Draft, DraftBlob, Publication


@dataclass(frozen=True)
class ModelEntry:
    """A published model: what was signed, and its files."""

    artifact: Artifact
    files: Files

    @property
    def key(self) -> str:
        """vLLM's key, with the rank."""
        return str(self.artifact.subject.scheme_key)

    def another_target(self, **factors: str) -> Target:
        """Return the target with some factors changed; `torch__version` stands for `torch.version`."""
        changed = {name.replace("__", "."): value for name, value in factors.items()}
        return Target(self.artifact.subject.target.factors | changed)

    def publish(self, to: Client, files: Mapping[str, bytes] | None = None, **changes: Any) -> None:
        """Sign it with the client's key, with other files or fields, and send it to the client's store."""
        subject = self.artifact.subject
        named = sorted((self.files if files is None else files).items())
        fields = {
            "blobs": tuple(DraftBlob(CACHE_FILE, name, data) for name, data in named),
            "shape": subject.shape,
            "backend": subject.backend,
            "scheme": subject.scheme,
            "scheme_key": subject.scheme_key,
            "graph_digest": subject.graph_digest,
            "options": subject.options,
            "target": subject.target,
            "provenance": self.artifact.provenance,
        }
        report = to.publisher.publish_now(Publication(artifacts=(Draft(**fields | changes),)))
        assert report.created == 1


def published_model(client: Client) -> ModelEntry:
    """Return the one model in the client's namespace."""
    store = client.reach_store()
    keys = {entry.artifact for entry in store.lookup({"backend": BACKEND}).entries}
    (key,) = keys
    artifact = store.get_artifact(key)
    files = {each.name: client.blob(each.digest, each.size) for each in artifact.subject.loaded}
    return ModelEntry(artifact, files)
