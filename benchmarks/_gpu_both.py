"""One process that runs a model's code on two GPUs: `_gpu_both.py MODE LAYERS`. Prints JSON.

One GPU may read the other's memory, where code for the wrong one would run without a word.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import torch._dynamo
from _gpu_start import OPTIONS, TOKENS, make_model, sha256, token_ids
from inductory_client.graph.report import reports


def main() -> None:
    mode, layers = sys.argv[1], int(sys.argv[2])
    devices = [torch.device("cuda", 0), torch.device("cuda", 1)]
    found: dict[str, Any] = {"peer_access": torch.cuda.can_device_access_peer(0, 1)}
    torch.ones(4, device=devices[0]).to(devices[1])  # from here on, if they can
    outputs = []
    for device in devices:
        with device:
            model = make_model(layers=layers)
        with torch.no_grad():
            call: Any = torch.compile(model, backend="inductory", options=OPTIONS[mode])
            outputs.append(call(input_ids=token_ids(TOKENS, device)).logits)
        torch.cuda.synchronize(device)
    found["devices"] = [str(logits.device) for logits in outputs]
    found["sha256"] = [sha256(logits) for logits in outputs]
    found["outcomes"] = [report.outcome for report in reports()]
    found["reasons"] = [report.reason for report in reports() if report.reason]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
