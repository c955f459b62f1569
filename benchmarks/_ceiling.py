"""FastAPI's own ceiling: `python benchmarks/_ceiling.py FILE` answers every resolve with the bytes of FILE.

The same server with the same settings as a store's, and nothing of a store in it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from _servers import serve
from fastapi import FastAPI, Response

app = FastAPI(docs_url=None, redoc_url=None)
BODY = Path(sys.argv[1]).read_bytes()


@app.post("/v1/artifacts:resolve", response_class=Response)
async def ready_made(namespace: str = "default") -> Response:
    return Response(BODY, media_type="application/json")


if __name__ == "__main__":
    serve(app)
