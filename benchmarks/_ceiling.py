"""FastAPI's own ceiling: `python benchmarks/_ceiling.py FILE` answers every resolve with the bytes of FILE.

The same server with the same settings as a store's, and nothing of a store in it.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

app = FastAPI(docs_url=None, redoc_url=None)
BODY = Path(sys.argv[1]).read_bytes()


@app.post("/v1/artifacts:resolve", response_class=Response)
async def ready_made(namespace: str = "default") -> Response:
    return Response(BODY, media_type="application/json")


def main() -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(f"inductory store: http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
