"""What importing costs is measured by benchmarks/import_time.py; what is imported is checked here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = {
    "torch",
    "numpy",
    "urllib3",
    "requests",
    "httpx",
    "pydantic",
    "sqlalchemy",
    "fastapi",
    "asyncio",
    "argparse",
}

FIRST_RESOLVE = """
import sys
from inductory_client import Client, Settings
from inductory_client.contract.target import Target
from inductory_client.contract.wire import ArtifactWanted

client = Client(Settings.load({}, url="http://127.0.0.1:9", cache_dir=sys.argv[1], config_dir=sys.argv[1]))
client.signing_key()
fetched = client.fetch([ArtifactWanted(key="ab" * 32)], Target({}))
assert fetched.error is not None and not fetched.pieces, fetched
client.close()
print(*sys.modules)
"""


def modules_after(code: str, *arguments: str) -> set[str]:
    command = [sys.executable, "-c", code, *arguments]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_the_package_alone_imports_next_to_nothing() -> None:
    bare = modules_after("import sys; print(*sys.modules)")
    found = modules_after("import inductory_client, sys; print(*sys.modules)")
    ours = {name for name in found if name.startswith("inductory_client")}
    assert ours == {"inductory_client", "inductory_client.version"}
    assert found - bare - ours <= {"__future__"}


def test_everything_up_to_a_first_resolve_is_light(tmp_path: Path) -> None:
    found = modules_after(FIRST_RESOLVE, str(tmp_path))
    assert {"inductory_client.fetch", "inductory_client.transport", "http.client"} <= found
    assert not HEAVY & {name.split(".")[0] for name in found}


def test_an_unknown_name_is_an_attribute_error() -> None:
    import inductory_client

    assert not hasattr(inductory_client, "Clinet")
    assert inductory_client.Client.__name__ == "Client"
