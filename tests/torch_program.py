"""What tests run in processes of their own: `python torch_program.py WHAT NAME...` prints one JSON object.

Nothing of Inductory is imported before torch.compile finds the backend by its entry point.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import torch._dynamo
from torch_cases import CASES, close, fingerprint, outputs


def run_case(name: str) -> dict[str, Any]:
    torch._dynamo.reset()
    function, inputs = CASES[name]()
    try:
        found = outputs(torch.compile(function, backend="inductory"), inputs)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"fingerprint": fingerprint(found), "close": close(found, outputs(function, inputs))}


def generate(name: str) -> dict[str, Any]:
    from torch_generation import generated

    return generated(name)


def load(name: str) -> dict[str, Any]:
    from torch_loading import SCENES

    return SCENES[name]()


def stock(name: str) -> dict[str, Any]:
    from torch_stock_scenes import SCENES

    return SCENES[name]()


def main(what: str, *names: str) -> None:
    early = [name for name in sys.modules if name.startswith("inductory")]
    run = {"case": run_case, "generate": generate, "load": load, "stock": stock}[what]
    results = {name: run(name) for name in names}
    from inductory_client.graph.report import reports
    from inductory_client.graph.torch_private import counters

    print(
        json.dumps(
            {
                "results": results,
                "early": early,
                "torch": torch.__file__,
                "outcomes": [report.outcome for report in reports()],
                "reasons": [report.reason for report in reports()],
                "captured": [report.captured for report in reports()],
                "dispatches": [report.dispatch for report in reports()],
                "compiled": sum(report.compiled for report in reports()),
                "keys": [list(report.keys) for report in reports()],
                "manifests": [report.manifest for report in reports()],
                "builds": sorted({report.build for report in reports() if report.build}),
                "counters": counters(),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
