"""Files as a framework serves them: `python benchmarks/_files.py FOLDER`, under the store's own server.

Nothing of a store is in it: what a server makes of a file that it may send as it likes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from _servers import serve
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse

FOLDER = "INDUCTORY_BENCH_FOLDER"
app = FastAPI(docs_url=None, redoc_url=None)


@app.get("/{name}", response_class=Response)
async def file(name: str) -> Response:
    return FileResponse(Path(os.environ[FOLDER]) / name, media_type="application/octet-stream")


def main() -> None:
    os.environ[FOLDER] = sys.argv[1]
    serve(app)


if __name__ == "__main__":
    main()
