"""Can this machine sign, and whom does it trust?"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from inductory_client.contract.errors import BadSettings
from inductory_client.keyfiles import KEY_NAME, PUBLIC_NAME, TRUSTED_NAME, is_public_half
from inductory_client.settings import Settings
from inductory_client.trust import Keyring, load_signing_key

from .check import Check


def check_keys(settings: Settings) -> Iterator[Check]:
    """Look at the signing key, its mode, and the trusted keys."""
    yield _signing_key(settings)
    try:
        count = len(Keyring.load(settings, strict=True))
    except BadSettings as error:
        yield Check(
            "trusted keys",
            "fail",
            f"{error.message}.",
            "Mend or remove that file; until then it isn't trusted.",
        )
        return
    where = settings.config_dir / TRUSTED_NAME
    if count:
        yield Check(
            "trusted keys", "ok", f"{count} trusted, this machine's own included; more go to {where}."
        )
    else:
        yield Check(
            "trusted keys",
            "warn",
            "No key is trusted yet, so nothing that the store has will be loaded.",
            f"Copy the publishers' key.pub files to {where}/NAME.pub.",
        )


def _signing_key(settings: Settings) -> Check:
    path = settings.config_dir / KEY_NAME
    if not path.exists():
        what = f"There is no signing key at {path}; the first publish makes one."
        return Check(
            "signing key", "ok", what, "" if settings.publish else "Fine for a node that never publishes."
        )
    try:
        key = load_signing_key(settings, create=False)
    except BadSettings as error:
        return Check(
            "signing key", "fail", f"{error.message}.", "Mend it, or make a new one: inductory keygen --force"
        )
    public = path.with_name(PUBLIC_NAME)
    if public.exists() and not is_public_half(public, key.public_key):
        todo = "Remove it, and give others the line that `inductory keygen` prints."
        return Check("signing key", "fail", f"{public} isn't the public half of {path}.", todo)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Check(
            "signing key", "fail", f"{path} can be read by other users (mode {mode:o}).", f"chmod 600 {path}"
        )
    return Check("signing key", "ok", f"{path} signs as {key.signer[:12]}.")
