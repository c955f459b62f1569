"""What our threads import, a fork waits for: in a child the module would stay locked for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PUBLISH = """
import importlib.abc, sys, threading
from pathlib import Path
from inductory_client import fork
from inductory_client.client import Client
from inductory_client.contract.target import Target
from inductory_client.foreign import ForeignCache
from inductory_client.settings import Settings

class Watching(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread() and not fork._importing.locked():
            print(name)

sys.meta_path.insert(0, Watching())
place = Path(sys.argv[1])
settings = Settings.load({}, url=sys.argv[2], cache_dir=place / "cache", config_dir=place / "config",
                         namespace="thread-imports")
with Client(settings) as client:
    cache = ForeignCache(client=client, scheme="triton", backend="triton", target=Target({}))
    assert cache.offer("a key", {"a file": b"bytes"})
    assert client.publisher.drain(60)
    assert client.cas.usage().artifacts == 1
"""


def test_a_publisher_imports_nothing_that_a_fork_would_not_wait_for(tmp_path: Path, store_url: str) -> None:
    command = [sys.executable, "-c", PUBLISH, str(tmp_path), store_url]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == []
