"""One start of the model: `python benchmarks/_dispatch_start.py load|compile`. Prints JSON."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import _model
import inductory_client
import inductory_client.graph.dispatch.loaded_model  # what a start imports anyway
import inductory_client.integrations.torch_backend
import torch
import torch._dynamo
from inductory_client.contract.blob import pack
from inductory_client.contract.descriptor import LOADABLE_DISPATCH
from inductory_client.graph.dispatch.loaded_model import LoadedModel
from inductory_client.graph.report import reports

CALLS = 50


def main() -> None:
    how = sys.argv[1]
    model, ids = _model.make()
    began = time.perf_counter()
    with torch.no_grad():
        call = inductory_client.load(model) if how == "load" else torch.compile(model, backend="inductory")
        if isinstance(call, LoadedModel):
            run = call._found((), {"input_ids": ids})  # as the first call does, which runs it then
            found = time.perf_counter()
            logits = run(model, input_ids=ids).logits
        else:
            found = began
            logits = call(input_ids=ids).logits
        ended = time.perf_counter()
        later_call_s = _each(lambda: call(input_ids=ids))
    result = {
        "start_s": ended - began,
        "first_call_s": ended - found,
        "later_call_s": later_call_s,
        "logits_sha256": hashlib.sha256(logits.contiguous().numpy().tobytes()).hexdigest(),
        "outcomes": [report.outcome for report in reports()],
        "captured": [report.captured for report in reports()],
        "reasons": [report.reason for report in reports() if report.reason],
        "bytes_moved": sum(report.bytes_moved for report in reports()),
        "unique": sum(report.unique for report in reports()),
        "dynamo": dict(torch._dynamo.utils.counters["stats"]),
        "steps_s": {name: seconds for report in reports() for name, seconds in report.seconds.items()},
    }
    if isinstance(call, LoadedModel):
        result |= _of_dispatch(call, ids)
    print(json.dumps(result))


def _of_dispatch(call: LoadedModel, ids: torch.Tensor) -> dict[str, Any]:
    """Measure the parts of a loaded model: a first call of code that was just loaded, guards, bytes."""
    (candidate,) = call._candidates
    scope = {"module": call._model, "args": (), "kwargs": {"input_ids": ids}}
    with torch.no_grad():
        guards_s = _each(lambda: candidate.holds(scope, call._watch.hooks()))
    cas = call._session.client.cas
    (report,) = reports()
    artifact = None if report.dispatch is None else cas.artifact(report.dispatch)
    sizes = (
        [0]
        if artifact is None
        else [
            len(pack(cas.get(item.digest) or b""))
            for item in artifact.subject.loaded
            if item.media_type == LOADABLE_DISPATCH
        ]
    )
    return {"guards_s": guards_s, "dispatch_bytes": sizes[0]}


def _each(call: Callable[[], Any]) -> float:
    """Return the seconds of one call, of many."""
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - began) / CALLS


if __name__ == "__main__":
    main()
