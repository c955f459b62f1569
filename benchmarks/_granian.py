"""What runs under granian: `python benchmarks/_granian.py store|files FOLDER`, with one worker."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import _servers
from _files import FOLDER
from _files import app as files_app
from granian import Granian
from granian.constants import Interfaces, Loops
from inductory_store.app import create_app
from inductory_store.serve import migrate
from inductory_store.settings import StoreSettings


def store() -> Any:
    return create_app(StoreSettings.load(data_dir=Path(os.environ[FOLDER])))


def files() -> Any:
    return files_app


def main() -> None:
    target, os.environ[FOLDER] = sys.argv[1:]
    if target == "store":
        migrate(StoreSettings.load(data_dir=Path(os.environ[FOLDER])))
    port = _servers.free_port()
    threading.Thread(target=_announce, args=(port,), daemon=True).start()
    Granian(
        f"_granian:{target}",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        factory=True,
        log_enabled=False,
    ).serve()


def _announce(port: int) -> None:
    """Say where it is once it answers."""
    until = time.monotonic() + _servers.START_S_MAX
    while time.monotonic() < until:
        try:
            urlopen(f"http://127.0.0.1:{port}/healthz").close()
        except HTTPError:
            pass  # it answers
        except OSError:
            time.sleep(0.05)
            continue
        print(f"inductory store: http://127.0.0.1:{port}", flush=True)
        return


if __name__ == "__main__":
    main()
