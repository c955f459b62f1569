"""Ceph's radosgw on a cluster in memory, for tests: a monitor, an OSD and the gateway, three processes."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import Self

import httpx

ACCESS_KEY, SECRET = "tester", "testing"
GUEST, GUEST_SECRET = "guest", "guesting"
"""Somebody who may do nothing with what isn't theirs."""
REGION = "us-east-1"
TAKES_TRAILERS = False

_START_S = 120
# Pools need no copies, and log files of daemons that die with the test no size. `auth = none` hangs radosgw.
_CONF = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}]
mon initial members = a
ms bind msgr1 = false
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {folder}/keyring
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
rgw frontends = beast endpoint=127.0.0.1:{rgw_port}
rgw enable usage log = false
rgw data = {folder}/rgw
"""
_NAMES = ("mon.", "client.admin", "osd.0")


def is_installed() -> bool:
    return shutil.which("radosgw") is not None


class Server:
    """An S3 server that keeps all in memory; ends with the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        mon_port, rgw_port = _free_ports(2)
        self.url = f"http://127.0.0.1:{rgw_port}"
        fsid = str(uuid.uuid4())
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir(parents=True)
        conf = _CONF.format(fsid=fsid, folder=folder, mon_port=mon_port, rgw_port=rgw_port)
        (folder / "ceph.conf").write_text(conf)
        try:
            self._make_keyring()
            self._start_monitor(fsid, mon_port)
            self._start_osd()
            self._start_gateway()
        except BaseException:
            self.stop()
            raise

    @property
    def log(self) -> str:
        paths = sorted(self._folder.glob("*.out"))
        return "".join(path.read_text(errors="replace")[-3000:] for path in paths)

    def stop(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_keyring(self) -> None:
        keyring = str(self._folder / "keyring")
        caps = [word for kind in ("mon", "osd", "mgr") for word in ("--cap", kind, "allow *")]
        for at, name in enumerate(_NAMES):
            create = ["--create-keyring"] if at == 0 else []
            self._run("ceph-authtool", keyring, *create, "--gen-key", "-n", name, *caps)

    def _start_monitor(self, fsid: str, port: int) -> None:
        monmap, keyring = str(self._folder / "monmap"), str(self._folder / "keyring")
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{port}]", monmap)
        self._run("ceph-mon", *self._conf, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._start("ceph-mon", "-i", "a")

    def _start_osd(self) -> None:
        osd = str(uuid.uuid4())
        self._run("ceph", *self._conf, "--connect-timeout", str(_START_S), "osd", "new", osd, "0")
        self._run("ceph-osd", *self._conf, "--mkfs", "-i", "0", "--osd-uuid", osd)
        self._start("ceph-osd", "-i", "0")

    def _start_gateway(self) -> None:
        self._start("radosgw", "-n", "client.admin")
        self._wait()
        for key, secret in ((ACCESS_KEY, SECRET), (GUEST, GUEST_SECRET)):
            user = ["--uid", key, "--display-name", key, "--access-key", key, "--secret", secret]
            self._run("radosgw-admin", *self._conf, "user", "create", *user)

    @property
    def _conf(self) -> list[str]:
        return ["-c", str(self._folder / "ceph.conf"), "-k", str(self._folder / "keyring")]

    def _run(self, *command: str) -> bytes:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_START_S)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.decode()}")
        return done.stdout

    def _start(self, program: str, *words: str) -> None:
        with (self._folder / f"{program}.out").open("wb") as out:
            command = [program, "-f", *self._conf, *words]
            self._processes.append(
                subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
            )

    def _wait(self) -> None:
        """Return once the gateway answers."""
        until = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/").status_code < 500:
                    return
            if time.monotonic() > until or any(each.poll() is not None for each in self._processes):
                raise RuntimeError(f"radosgw didn't start: {self.log}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]
