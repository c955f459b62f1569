"""Key files: how Ed25519 keys rest in the config folder.

    <config_dir>/             0700
        key.pem               0600  the private key, PKCS8, unencrypted
        key.pub               one line: ed25519 <base64 of 32 bytes> <comment>
        trusted/*.pub         public keys of others, in the same form

Who may write them decides what is run here, so what anybody but us and the superuser may write isn't read.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

from .contract.errors import BadSettings

KEY_NAME = "key.pem"
PUBLIC_NAME = "key.pub"
TRUSTED_NAME = "trusted"
KEY_BYTES_MAX = 64 << 10


def public_line(public_key: bytes, comment: str) -> str:
    """Return the line that stands for a raw public key in a `.pub` file."""
    return f"ed25519 {base64.b64encode(public_key).decode()} {comment}".rstrip() + "\n"


def read_public(path: Path) -> tuple[bytes, ...]:
    """Return the raw public keys of a `.pub` file, one a line; empty lines and comments (#) are skipped.

    Raises BadSettings where a line isn't a key, where there is none, or where others may write the file.
    """
    try:
        text = read_guarded(path).decode()
    except UnicodeDecodeError as error:
        raise BadSettings(f"{path} isn't text; a key is one line: ed25519 <base64> <comment>") from error
    lines = (line.strip() for line in text.splitlines())
    keys = tuple(_parse(line, path) for line in lines if line and not line.startswith("#"))
    if not keys:
        raise BadSettings(f"{path} holds no key")
    return keys


def is_public_half(path: Path, public_key: bytes) -> bool:
    """Whether a `.pub` file holds this key and no other. Never raises."""
    try:
        return read_public(path) == (public_key,)
    except BadSettings:
        return False


def _parse(line: str, path: Path) -> bytes:
    if "PRIVATE KEY" in line:
        raise BadSettings(f"{path} holds a private key; only public ones belong there")
    kind, _, rest = line.partition(" ")
    if kind != "ed25519":
        raise BadSettings(f"{path}: {kind[:20]!r} isn't a known kind; write ed25519 <base64> <comment>")
    try:
        key = base64.b64decode(rest.split(" ")[0], validate=True)
    except binascii.Error as error:
        raise BadSettings(f"{path}: the key isn't base64") from error
    if len(key) != 32:
        raise BadSettings(f"{path}: an ed25519 key has 32 bytes, not {len(key)}")
    return key


def read_guarded(path: Path) -> bytes:
    """Return the bytes of a key file. Raises BadSettings, also where others may write it."""
    try:
        # A pipe that lies there would hold whoever opens it; this way it is seen for what it is.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BadSettings(f"{path} isn't a file")
            _refuse_if_writable(path, status)
            data = file.read(KEY_BYTES_MAX + 1)
    except OSError as error:
        raise BadSettings(f"{path} can't be read: {error.strerror}") from error
    if len(data) > KEY_BYTES_MAX:
        raise BadSettings(f"{path} is too long for a key")
    return data


def check_folder(folder: Path) -> None:
    """Raise BadSettings where others may write a folder of keys, OSError where it isn't there."""
    _refuse_if_writable(folder, folder.stat())


def _refuse_if_writable(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise BadSettings(f"{path} belongs to another user, who could add keys; chown it")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadSettings(f"{path} can be written by others, who could add keys; chmod go-w it")


def make_folder(folder: Path) -> None:
    """Make a config folder, 0700; an existing one is left as it is. Raises BadSettings."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"the folder {folder} can't be made: {error.strerror}") from error


def write_new(path: Path, data: bytes, mode: int) -> bool:
    """Write a file that isn't there yet, whole or not at all; False where another process was first.

    A hard link decides the race, so that nobody ever reads half a key. Raises BadSettings.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            os.unlink(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        raise BadSettings(f"{path} can't be written: {error.strerror}") from error
    return True
