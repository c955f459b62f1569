"""One publisher: `python benchmarks/_publish.py URL`. Prints JSON.

Starts the model, then pushes what there is to publish to the store at URL, and pushes it again. Whether it
can fetch from a store is a matter of INDUCTORY_URL.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import _model
import msgspec
import torch.fx
from inductory_client.client import Client
from inductory_client.graph.session import Session
from inductory_client.publication import Publication
from inductory_client.settings import Settings


def main() -> None:
    publications: list[Publication] = []
    session = Session(Settings.load(), hand_over=publications.append)

    def backend(module: torch.fx.GraphModule, inputs: Any) -> Any:
        return session.compile_graph(module, inputs, {})

    _model.start(backend)
    with Client(Settings.load(url=sys.argv[1])) as client:
        first, again = ([client.publisher.publish_now(each) for each in publications] for _ in range(2))
        result = {
            "outcomes": [report.outcome for report in session.reports],
            "first": [msgspec.to_builtins(report) for report in first],
            "again": [msgspec.to_builtins(report) for report in again],
        }
    session.client.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
