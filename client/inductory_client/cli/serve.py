"""`inductory serve`: runs a store. A seam: this reaches the store's package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .exit_code import ExitCode
from .output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (INDUCTORY_STORE_HOST; 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port; 0 takes a free one (INDUCTORY_STORE_PORT; 8765)")
    parser.add_argument(
        "--data-dir",
        type=lambda text: Path(text).expanduser(),
        metavar="FOLDER",
        help="where blobs and catalog rest (INDUCTORY_STORE_DATA_DIR)",
    )
    parser.add_argument(
        "--database-url",
        metavar="URL",
        help="postgresql:// address of the catalog; SQLite in the data folder if left out",
    )

    parser.add_argument(
        "--upstream",
        dest="upstream_url",
        metavar="URL",
        help="a store to pull from: what isn't here is fetched there, once (INDUCTORY_STORE_UPSTREAM_URL)",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    try:
        from inductory_store.serve import serve
        from inductory_store.settings import StoreSettings
    except ModuleNotFoundError as error:
        output.problem("store_absent", f"the store needs {error.name}", "pip install 'inductory[store]'")
        return ExitCode.ABSENT
    given: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("host", "port", "data_dir", "database_url", "upstream_url")
    }
    settings = StoreSettings.load(**{name: value for name, value in given.items() if value is not None})

    def announce(url: str) -> None:
        output.result({"url": url}, f"inductory store: {url}")

    serve(settings, announce)
    return ExitCode.FINE
