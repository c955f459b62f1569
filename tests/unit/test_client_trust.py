from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from client_samples import TARGET, draft, settings, signed
from inductory_client.contract.errors import BadSettings, BadSignature, UntrustedSigner
from inductory_client.contract.target import Target
from inductory_client.contract.wire import Artifact
from inductory_client.keyfiles import public_line
from inductory_client.settings import Settings
from inductory_client.trouble import forget_warnings
from inductory_client.trust import Keyring, SigningKey, load_signing_key

LONG_S = 60.0


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    forget_warnings()


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return settings(tmp_path)


def test_a_key_is_made_once_and_kept_private(here: Settings) -> None:
    first = load_signing_key(here)
    assert load_signing_key(here).signer == first.signer
    assert stat.S_IMODE((here.config_dir / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(here.config_dir.stat().st_mode) == 0o700
    line = (here.config_dir / "key.pub").read_text()
    assert line.startswith("ed25519 ")
    assert line == public_line(first.public_key, line.split()[2])


def test_no_key_is_made_unasked(here: Settings) -> None:
    with pytest.raises(BadSettings, match="inductory keygen"):
        load_signing_key(here, create=False)
    assert not here.config_dir.exists()


def test_racing_processes_agree_on_one_key(here: Settings) -> None:
    code = (
        "import sys; from inductory_client.settings import Settings;"
        "from inductory_client.trust import load_signing_key;"
        "sys.stdin.read();"
        "print(load_signing_key(Settings.load({}, cache_dir='/x', config_dir=sys.argv[1])).signer)"
    )
    command = [sys.executable, "-c", code, str(here.config_dir)]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    signers = {racer.communicate()[0].strip() for racer in racers}
    assert signers == {load_signing_key(here).signer}
    assert {path.name for path in here.config_dir.iterdir()} == {"key.pem", "key.pub"}


def test_our_own_key_is_trusted(here: Settings) -> None:
    key = load_signing_key(here)
    Keyring.load(here).check(signed(draft(), key))


def test_a_foreign_key_is_not_trusted_until_it_is_added(here: Settings, tmp_path: Path) -> None:
    other = SigningKey.generate()
    artifact = signed(draft(), other)
    load_signing_key(here)
    with pytest.raises(UntrustedSigner, match=other.signer[:12]):
        Keyring.load(here).check(artifact)

    trusted = here.config_dir / "trusted"
    trusted.mkdir()
    (trusted / "builder.pub").write_text("# the builder\n\n" + public_line(other.public_key, "builder@x"))
    Keyring.load(here).check(artifact)

    elsewhere = tmp_path / "builder.pub"
    (trusted / "builder.pub").rename(elsewhere)
    assert not Keyring.load(here).trusts(other.signer)
    assert Keyring.load(settings(tmp_path, trusted_keys=[elsewhere]), strict=True).trusts(other.signer)


def test_an_altered_or_reused_statement_is_refused(here: Settings) -> None:
    import msgspec

    key = load_signing_key(here)
    keyring = Keyring.load(here)
    good, other = signed(draft("a"), key), signed(draft("b"), key)
    swapped = msgspec.structs.replace(good, signature=other.signature)
    retargeted = msgspec.structs.replace(
        good,
        subject=msgspec.structs.replace(good.subject, target=Target({**TARGET.factors, "cpu.isa": "avx512"})),
    )
    for forged in (swapped, retargeted):
        assert isinstance(forged, Artifact)
        with pytest.raises(BadSignature):
            keyring.check(forged)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key"),
        ("rsa AAAA", "isn't a known kind"),
        ("ed25519 ???? x", "base64"),
        ("ed25519 AAAA x", "32 bytes"),
        ("-----BEGIN PRIVATE KEY-----", "private key"),
    ],
)
def test_a_malformed_public_key_is_explained_or_left_out(
    here: Settings, text: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = load_signing_key(here)
    (here.config_dir / "trusted").mkdir()
    (here.config_dir / "trusted" / "bad.pub").write_text(text)
    with pytest.raises(BadSettings, match=said):
        Keyring.load(here, strict=True)
    with caplog.at_level(logging.WARNING, "inductory"):
        assert list(Keyring.load(here)) == [own.public_key]
        Keyring.load(here)
    assert len(caplog.records) == 1


def test_a_malformed_signing_key_is_explained_or_left_out(here: Settings) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    here.config_dir.mkdir(mode=0o700)
    path = here.config_dir / "key.pem"
    curve = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for pem, said in ((b"", "PEM"), (b"\xff\x00", "PEM"), (curve, "Ed25519")):
        path.write_bytes(pem)
        with pytest.raises(BadSettings, match=said):
            load_signing_key(here)
        assert len(Keyring.load(here)) == 0
    assert path.read_bytes() == curve, "what a person put there isn't overwritten"


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o666, 0o777), (0o664, 0o775)])
def test_a_key_file_that_others_may_write_is_not_trusted(
    here: Settings, file_mode: int, folder_mode: int
) -> None:
    other = SigningKey.generate()
    trusted = here.config_dir / "trusted"
    trusted.mkdir(parents=True)
    path = trusted / "builder.pub"
    path.write_text(public_line(other.public_key, ""))
    assert Keyring.load(here).trusts(other.signer)
    path.chmod(file_mode)
    assert not Keyring.load(here).trusts(other.signer)
    path.chmod(0o644)
    trusted.chmod(folder_mode)
    with pytest.raises(BadSettings, match="written by others"):
        Keyring.load(here, strict=True)


def test_a_missing_trusted_key_is_named(here: Settings, tmp_path: Path) -> None:
    missing = tmp_path / "gone.pub"
    with pytest.raises(BadSettings, match=r"gone\.pub"):
        Keyring.load(settings(tmp_path, trusted_keys=[missing]), strict=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give files away")
def test_a_strangers_key_file_is_not_trusted(here: Settings) -> None:
    load_signing_key(here)
    os.chown(here.config_dir / "key.pem", 65534, 65534)
    assert len(Keyring.load(here)) == 0


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_config_folder_that_others_may_write_gives_no_keys(here: Settings, mode: int) -> None:
    """Whoever may write the folder may rename what lies in it and lay something else there."""
    load_signing_key(here)
    trusted = here.config_dir / "trusted"
    trusted.mkdir()
    (trusted / "builder.pub").write_text(public_line(SigningKey.generate().public_key, ""))
    assert len(Keyring.load(here)) == 2
    here.config_dir.chmod(mode)
    assert len(Keyring.load(here)) == 0
    for use in (lambda: Keyring.load(here, strict=True), lambda: load_signing_key(here, create=False)):
        with pytest.raises(BadSettings, match="written by others"):
            use()


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give folders away")
def test_a_strangers_config_folder_gives_no_keys(here: Settings) -> None:
    load_signing_key(here)
    os.chown(here.config_dir, 65534, 65534)
    assert len(Keyring.load(here)) == 0
    with pytest.raises(BadSettings, match="another user"):
        load_signing_key(here)


@pytest.mark.parametrize("name", ["key.pem", "trusted/builder.pub"])
def test_a_pipe_in_a_keys_place_holds_nobody(here: Settings, name: str) -> None:
    path = here.config_dir / name
    path.parent.mkdir(mode=0o700, parents=True)
    here.config_dir.chmod(0o700)
    os.mkfifo(path)
    code = (
        "import sys; from inductory_client.settings import Settings;"
        "from inductory_client.trust import Keyring;"
        "print(len(Keyring.load(Settings.load({}, cache_dir='/x', config_dir=sys.argv[1]))))"
    )
    command = [sys.executable, "-c", code, str(here.config_dir)]
    assert subprocess.run(command, capture_output=True, check=True, timeout=LONG_S).stdout == b"0\n"
    with pytest.raises(BadSettings, match="isn't a file"):
        Keyring.load(here, strict=True)
