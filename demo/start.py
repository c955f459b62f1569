"""One start of a server: import, make the model, compile it with Inductory, answer prompts. Prints JSON.

    python demo/start.py OUTPUTS.pt

Run once by a publisher that finds an empty store, and once by a fresh process on a machine with empty caches.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
from dataclasses import asdict

import torch
from inductory_client.graph.report import reports
from inductory_client.graph.torch_private import counters, mark_dynamic
from model import PROMPT_TOKENS, make_model, prompt

OTHER_LENGTHS = (5, 40, 100)
CLOSE = 1e-4


def main(outputs_path: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("inductory").setLevel(logging.INFO)
    importlib.import_module("torch._inductor.compile_fx")  # so that no step below pays for torch's imports
    model = make_model()
    compiled = torch.compile(model, backend="inductory", fullgraph=True)
    ids = prompt(PROMPT_TOKENS)
    mark_dynamic(ids, 1, 2, None)
    with torch.no_grad():
        began = time.perf_counter()
        first = compiled(input_ids=ids).logits
        first_output_s = time.perf_counter() - began
        outputs = [first, *(compiled(input_ids=prompt(n)).logits for n in OTHER_LENGTHS)]
        eager = [model(input_ids=prompt(n)).logits for n in (PROMPT_TOKENS, *OTHER_LENGTHS)]
    torch.save(outputs, outputs_path)
    close = all(torch.allclose(a, b, rtol=CLOSE, atol=CLOSE) for a, b in zip(outputs, eager, strict=True))
    report = {
        "graphs": [asdict(report) for report in reports()],
        "first_output_s": first_output_s,
        "close_to_eager": close,
        "inductor_counters": counters().get("inductor", {}),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
