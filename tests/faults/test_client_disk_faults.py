"""What the local CAS makes of full, read-only and foreign disks, and of other processes in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from client_samples import TARGET, client, publication, wanted
from inductory_client.cas import LocalCas
from inductory_client.contract.digest import digest_of
from inductory_client.trouble import forget_warnings

TESTS = str(Path(__file__).parents[1])
NOBODY = 65534

PREPARE = """
import os, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from client_samples import TARGET, client, draft, publication, wanted

def check_that_a_start_works(here):
    here.publisher.publish_now(publication("a"))
    fetched = here.fetch(wanted(draft("a")), TARGET)
    assert fetched.error is None, fetched
    return fetched.pieces
"""

FULL = """
here = client(Path(sys.argv[2]))
here.signing_key()
# Stands for a full disk: from here on a write past so many bytes fails, wherever it goes.
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
assert not check_that_a_start_works(here)
assert [path for path in here.cas.root.rglob("*") if path.name.startswith(".tmp")] == []
"""

READ_ONLY = """
import ctypes

# The superuser writes where it isn't allowed to; without its capabilities it is like anybody.
libc = ctypes.CDLL(None, use_errno=True)
nothing = (ctypes.c_uint32 * 6)()
assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), nothing) == 0
here = client(Path(sys.argv[2]))
there = check_that_a_start_works(here)
assert bool(there) is (sys.argv[3] == "filled"), there
"""

FILL = """
import hashlib, random, sys
from pathlib import Path
from inductory_client.cas import LocalCas

cas = LocalCas(Path(sys.argv[1]), 400_000)
datas = [bytes([n]) * 10_000 for n in range(60)]
random.Random(sys.argv[2]).shuffle(datas)
sys.stdin.read()
hits = 0
for _ in range(4):
    for data in datas:
        digest = hashlib.sha256(data).hexdigest()
        found = cas.get(digest)
        assert found in (None, data), "damaged bytes were returned"
        hits += found is not None
        assert cas.put(digest, data)
print(hits)
"""


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PREPARE + code, TESTS, *arguments]
    return subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_is_done_without(tmp_path: Path) -> None:
    done = run(FULL, str(tmp_path))
    assert done.stderr.count("can't be written") == 1


@pytest.mark.parametrize("state", ["empty", "filled"])
def test_a_read_only_cache_is_read_and_done_without(tmp_path: Path, state: str) -> None:
    here = client(tmp_path)
    here.signing_key()
    here.cas.root.mkdir()
    if state == "filled":
        here.publisher.publish_now(publication("a"))
    paths = (here.cas.root, *here.cas.root.rglob("*"))
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        run(READ_ONLY, str(tmp_path), state)
    finally:
        for path in paths:
            path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give folders away")
@pytest.mark.parametrize("foreign", ["", "cas", "cas/sha256", "artifacts"])
def test_a_strangers_folder_is_not_used(
    tmp_path: Path, foreign: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = client(tmp_path)
    here.publisher.publish_now(publication("a"))
    for path in (here.cas.root, *here.cas.root.rglob("*")):
        path.chmod(0o777)
    os.chown(here.cas.root / foreign, NOBODY, NOBODY)
    there = client(tmp_path)
    assert there.fetch(wanted(*publication("a").artifacts), TARGET).pieces == {}
    there.publisher.publish_now(publication("b"))
    assert there.fetch(wanted(*publication("b").artifacts), TARGET).pieces == {}
    assert "belongs to another user" in caplog.text


def test_a_folder_opened_to_others_is_closed_again(tmp_path: Path) -> None:
    data = b"data"
    LocalCas(tmp_path, 1 << 20).put(digest_of(data), data)
    (tmp_path / "cas").chmod(0o777)
    assert LocalCas(tmp_path, 1 << 20).get(digest_of(data)) == data
    assert (tmp_path / "cas").stat().st_mode & 0o777 == 0o700


def test_processes_may_fill_one_cas_together(tmp_path: Path) -> None:
    """Three processes write, read and evict the same blobs at once, in a cache too small for them all."""
    fillers = [
        subprocess.Popen(
            [sys.executable, "-c", FILL, str(tmp_path), str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for n in range(3)
    ]
    outputs = [filler.communicate()[0] for filler in fillers]
    assert [filler.returncode for filler in fillers] == [0, 0, 0]
    assert sum(int(output) for output in outputs) > 0
    left = LocalCas(tmp_path, 400_000)
    scan = left.scan(deep=True)
    assert scan.damaged == ()
    assert 0 < scan.read_bytes <= 400_000
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".tmp")] == []


def test_a_killed_writer_leaves_only_what_eviction_clears(tmp_path: Path) -> None:
    """Killed in the middle of writing: nobody ever sees half a blob under its name."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from inductory_client import cas_folder\n"
        "from inductory_client.cas import LocalCas\n"
        "from inductory_client.contract.digest import digest_of\n"
        "def killed(descriptor, data):\n"
        "    os.write(descriptor, data[: len(data) // 2])\n"
        "    os.kill(os.getpid(), 9)\n"
        "cas_folder._write_whole = killed\n"
        "data = bytes(1000)\n"
        "LocalCas(Path(sys.argv[1]), 1 << 30).put(digest_of(data), data)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    cas = LocalCas(tmp_path, 1 << 30)
    assert cas.get(digest_of(bytes(1000))) is None
    assert cas.scan().blobs == 0
    (left,) = [path for path in tmp_path.rglob("*") if path.name.startswith(".tmp")]
    os.utime(left, (0, 0))
    cas.evict()
    assert not left.exists()
