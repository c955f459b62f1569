"""`python -m inductory_store`: a store process, for service managers and tests."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from inductory_client.contract.errors import InductoryError

from .serve import serve
from .settings import StoreSettings


def main() -> int:
    """Read the arguments and serve. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="inductory_store", description="Run a store.")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 0 takes a free one")
    parser.add_argument("--data-dir", type=Path, help="folder of the blobs and of the SQLite catalog")
    parser.add_argument("--upstream", dest="upstream_url", metavar="URL", help="the store to pull from")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    try:
        serve(StoreSettings.load(**given))
    except InductoryError as error:
        print(f"inductory store: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
