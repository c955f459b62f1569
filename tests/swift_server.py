"""OpenStack Swift with its S3 interface, for tests: four processes, from `scripts/setup.sh servers swift`."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import httpx

PROGRAMS = Path(__file__).parents[1] / ".venv-swift" / "bin"
ACCESS_KEY, SECRET = "test:tester", "testing"
GUEST, GUEST_SECRET = "test:guest", "guesting"
"""Somebody who may do nothing."""
REGION = "us-east-1"
TAKES_TRAILERS = True

_START_S = 60
_SWIFT_CONF = """
[swift-hash]
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
"""
_MAKE_RINGS = """
import sys
from swift.common.ring import RingBuilder
for kind, port in zip(("account", "container", "object"), map(int, sys.argv[2:])):
    address = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "device": "one", "weight": 1, "meta": "", **address})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{kind}.ring.gz")
"""
_COMMON = """
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
user = {user}
"""
_STORAGE_CONF = """
[DEFAULT]
{common}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY_CONF = """
[DEFAULT]
{common}
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats bulk s3api tempauth slo dlo versioned_writes symlink
    proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
auth_pipeline_check = false
location = {region}
# Pages so short that tests have several.
max_bucket_listing = 10
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
user_test_guest = guesting
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""


def is_installed() -> bool:
    return (PROGRAMS / "swift-proxy-server").exists()


class Server:
    """An S3 server whose data lie in `folder`; ends with the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        ports = _free_ports(4)
        self.url = f"http://127.0.0.1:{ports[3]}"
        try:
            (folder / "devices" / "one").mkdir(parents=True)
            (folder / "swift.conf").write_text(_SWIFT_CONF)
            self._make_rings(ports[:3])
            for kind, port in zip(("account", "container", "object", "proxy"), ports, strict=True):
                self._start(kind, port)
            self._wait()
        except BaseException:
            self.stop()
            raise

    @property
    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("*.log")))

    def stop(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, kind: str, port: int) -> None:
        # Without workers of its own the server is one process, which is stopped by its id.
        common = _COMMON.format(port=port, folder=self._folder, user=_user())
        if kind == "proxy":
            text = _PROXY_CONF.format(common=common, region=REGION)
        else:
            text = _STORAGE_CONF.format(common=common, folder=self._folder, kind=kind)
        conf = self._folder / f"{kind}.conf"
        conf.write_text(text)
        with (self._folder / f"{kind}.log").open("wb") as log:
            command = [str(PROGRAMS / f"swift-{kind}-server"), str(conf), "--verbose"]
            self._processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            )

    def _make_rings(self, ports: list[int]) -> None:
        """Say of each kind of server where it is, in one process: starting Python takes longest."""
        command = [str(PROGRAMS / "python"), "-c", _MAKE_RINGS, str(self._folder), *map(str, ports)]
        subprocess.run(command, check=True)

    def _wait(self) -> None:
        """Return once the proxy and what is behind it answer."""
        until = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/").status_code < 500:
                    return
            if time.monotonic() > until or any(each.poll() is not None for each in self._processes):
                raise RuntimeError(f"Swift didn't start: {self.log}")


def _free_ports(count: int) -> list[int]:
    """Ports that nobody had a moment ago: Swift can't be given a listening socket."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


def _user() -> str:
    """Whom Swift's servers are to become: who we are."""
    return pwd.getpwuid(os.getuid()).pw_name
