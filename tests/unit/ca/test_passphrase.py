"""A passphrase over the authority's keys: asked for, checked, and readable by other programs."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from keyborn.adapters.ca import EmbeddedAuthority, open_authority, read_passphrase
from keyborn.adapters.ca.keyfile import KeyLockedError, decode_key, encode_key
from keyborn.domain.errors import CaDamaged, CaExposed, CaLocked, InvalidSetting
from support.ca_world import ENTROPY, HandClock, make_authority

PASSPHRASE = b"correct horse battery staple"
VARIABLE = "KEYBORN_CA_PASSPHRASE"


def opened(data: Path, passphrase: bytes | None) -> EmbeddedAuthority:
    return open_authority(data / "ca", clock=HandClock(), entropy=ENTROPY, passphrase=passphrase)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose authority has a passphrase."""
    folder = tmp_path_factory.mktemp("locked")
    opened(folder, PASSPHRASE)
    return folder


def test_the_passphrase_opens_the_same_authority(locked: Path) -> None:
    assert opened(locked, PASSPHRASE).root_fingerprint() == opened(locked, PASSPHRASE).root_fingerprint()


def test_every_key_file_is_encrypted(locked: Path) -> None:
    for name in ("root", "devices", "servers"):
        pem = (locked / "ca" / f"{name}.key").read_bytes()
        assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")


def test_without_the_passphrase_the_sentence_says_where_to_put_it(locked: Path) -> None:
    with pytest.raises(CaLocked, match=f"none was given; set {VARIABLE}") as refused:
        opened(locked, None)
    assert refused.value.code == "ca_locked"


@pytest.mark.parametrize("wrong", [b"", b"correct horse battery stapl", PASSPHRASE + b"\n", b"\x00"])
def test_a_wrong_passphrase_is_called_that_and_not_repeated(locked: Path, wrong: bytes) -> None:
    with pytest.raises(CaLocked, match="the passphrase is wrong") as refused:
        opened(locked, wrong)
    assert "horse" not in str(refused.value)


def test_a_passphrase_for_keys_that_have_none_is_refused(tmp_path: Path) -> None:
    make_authority(tmp_path)
    with pytest.raises(CaLocked, match="not protected by one; start without it"):
        opened(tmp_path, PASSPHRASE)


@pytest.mark.needs("openssl")
def test_openssl_reads_an_encrypted_key(locked: Path) -> None:
    path = locked / "ca" / "devices.key"
    command = ["openssl", "pkey", "-in", str(path), "-passin", "env:SECRET", "-pubout"]
    told = subprocess.run(
        command,
        env={"SECRET": PASSPHRASE.decode(), "PATH": "/usr/bin"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(b"-----BEGIN PUBLIC KEY-----")


def test_an_operator_may_encrypt_a_key_with_another_program(locked: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE))
    assert decode_key(pem, PASSPHRASE).private_numbers() == key.private_numbers()


def test_encoding_twice_never_gives_the_same_bytes() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first, second = (encode_key(key, PASSPHRASE, ENTROPY) for _ in range(2))
    assert first != second
    assert decode_key(first, PASSPHRASE).private_numbers() == decode_key(second, PASSPHRASE).private_numbers()


def test_a_damaged_encrypted_key_never_opens() -> None:
    pem = encode_key(ec.generate_private_key(ec.SECP256R1()), PASSPHRASE, ENTROPY)
    lines = pem.splitlines()
    lines[-2] = lines[-2][::-1]
    with pytest.raises((KeyLockedError, ValueError)):
        decode_key(b"\n".join(lines), PASSPHRASE)


def test_an_encrypted_key_of_another_installation_is_damage_not_a_wrong_passphrase(
    locked: Path, tmp_path: Path
) -> None:
    opened(tmp_path, PASSPHRASE)
    for each in (locked / "ca").iterdir():
        target = tmp_path / "ca" / each.name
        if each.name != "servers.key":
            target.write_bytes(each.read_bytes())
    with pytest.raises(CaDamaged, match=r"servers\.key is not the key of"):
        opened(tmp_path, PASSPHRASE)


# ── where it comes from ───────────────────────────────────────────────────────────────────────────────


def private_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_no_passphrase_is_none() -> None:
    assert read_passphrase({}) is None


def test_the_environment_gives_it() -> None:
    assert read_passphrase({VARIABLE: "sésame"}) == "sésame".encode()


@pytest.mark.parametrize("content", [b"sesame", b"sesame\n", b"sesame\r\n", b"sesame\nsecond line\n"])
def test_a_files_first_line_goes_before_the_environment(tmp_path: Path, content: bytes) -> None:
    file = private_file(tmp_path / "passphrase", content)
    assert read_passphrase({VARIABLE: "other"}, file) == b"sesame"


def test_spaces_belong_to_it(tmp_path: Path) -> None:
    assert read_passphrase({}, private_file(tmp_path / "passphrase", b" a b \n")) == b" a b "


def test_an_empty_passphrase_is_a_mistake_not_a_wish(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="empty"):
        read_passphrase({VARIABLE: ""})
    with pytest.raises(InvalidSetting, match="empty"):
        read_passphrase({}, private_file(tmp_path / "passphrase", b"\n"))


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = private_file(tmp_path / "passphrase", b"sesame\n")
    file.chmod(0o644)
    with pytest.raises(CaExposed, match="chmod 600"):
        read_passphrase({}, file)
