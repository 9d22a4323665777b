"""The authority's files: made whole, checked whole, and refused with a sentence otherwise."""

import os
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from keyborn.adapters.ca import describe_authority, open_authority
from keyborn.adapters.ca.files import replace
from keyborn.domain.errors import CaDamaged, CaExpired, CaExposed, CaFileTrouble, CaMissing, OperatorError
from support.ca_world import ENTROPY, HandClock, make_authority

KEYS = ("root.key", "devices.key", "servers.key")
CERTIFICATES = ("root.crt", "devices.crt", "servers.crt")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_authority(folder)
    return folder


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """A data folder with a certificate authority that a test may spoil."""
    shutil.copytree(original, tmp_path / "data")
    return tmp_path / "data"


def test_first_start_makes_three_keys_and_three_certificates(data: Path) -> None:
    assert sorted(each.name for each in (data / "ca").iterdir()) == sorted(KEYS + CERTIFICATES)
    assert [each.name for each in data.iterdir()] == ["ca"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_keys_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_authority(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    modes = {stat.S_IMODE((tmp_path / "ca" / name).stat().st_mode) for name in KEYS}
    assert modes == {0o600}


def test_every_other_start_loads_the_same_authority(data: Path) -> None:
    files = {each.name: each.read_bytes() for each in (data / "ca").iterdir()}
    assert make_authority(data).root_fingerprint() == make_authority(data).root_fingerprint()
    assert {each.name: each.read_bytes() for each in (data / "ca").iterdir()} == files


def test_two_installations_share_no_name_key_or_serial(data: Path, tmp_path: Path) -> None:
    make_authority(tmp_path)
    ours, theirs = describe_authority(data / "ca"), describe_authority(tmp_path / "ca")
    for field in ("name", "serial", "fingerprint"):
        assert not {getattr(each, field) for each in ours} & {getattr(each, field) for each in theirs}


def test_no_private_key_byte_is_outside_the_key_files(data: Path) -> None:
    folder = data / "ca"
    secrets = []
    for name in KEYS:
        key = load_pem_private_key((folder / name).read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        secrets.append(key.private_numbers().private_value.to_bytes(32))
    for name in CERTIFICATES:
        certificate = x509.load_pem_x509_certificate((folder / name).read_bytes())
        assert not any(secret in certificate.public_bytes(Encoding.DER) for secret in secrets)
        assert b"PRIVATE" not in (folder / name).read_bytes()


def test_an_empty_folder_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir(mode=0o755)
    make_authority(tmp_path)
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700


# ── refused ───────────────────────────────────────────────────────────────────────────────────────────


def refusal(data: Path, kind: type[OperatorError]) -> OperatorError:
    """Open the authority, which must be refused, and leave every file as it was."""
    before = sorted((each.name, each.lstat().st_mtime_ns) for each in (data / "ca").iterdir())
    with pytest.raises(kind) as refused:
        make_authority(data)
    assert sorted((each.name, each.lstat().st_mtime_ns) for each in (data / "ca").iterdir()) == before
    return refused.value


@pytest.mark.parametrize("name", KEYS + CERTIFICATES)
def test_a_missing_file_is_named_and_never_made_again(data: Path, name: str) -> None:
    (data / "ca" / name).unlink()
    assert f"{name} is missing" in str(refusal(data, CaDamaged))


@pytest.mark.parametrize("name", KEYS + CERTIFICATES)
@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 50, b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_of_nonsense_is_named(data: Path, name: str, content: bytes) -> None:
    (data / "ca" / name).write_bytes(content)
    assert name in str(refusal(data, CaDamaged))


@pytest.mark.parametrize("name", KEYS + CERTIFICATES)
def test_half_a_file_is_named(data: Path, name: str) -> None:
    path = data / "ca" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert name in str(refusal(data, CaDamaged))


@pytest.mark.parametrize("name", KEYS)
def test_the_key_of_another_installation_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    make_authority(tmp_path)
    shutil.copy(tmp_path / "ca" / name, data / "ca" / name)
    assert f"{name} is not the key of" in str(refusal(data, CaDamaged))


@pytest.mark.parametrize("name", CERTIFICATES)
def test_the_certificate_of_another_installation_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    make_authority(tmp_path)
    shutil.copy(tmp_path / "ca" / name, data / "ca" / name)
    assert "is not signed by root.crt" in str(refusal(data, CaDamaged))


def test_devices_and_servers_cannot_be_exchanged(data: Path) -> None:
    folder = data / "ca"
    for kind in ("key", "crt"):
        (folder / f"devices.{kind}").rename(folder / "spare")
        (folder / f"servers.{kind}").rename(folder / f"devices.{kind}")
        (folder / "spare").rename(folder / f"servers.{kind}")
    assert "not a certificate for that role" in str(refusal(data, CaDamaged))


def test_a_key_on_another_curve_is_refused(data: Path) -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (data / "ca" / "devices.key").write_bytes(pem)
    assert "not a P-256 private key" in str(refusal(data, CaDamaged))


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644, 0o666])
def test_a_key_that_others_can_reach_is_refused_with_the_remedy(data: Path, name: str, mode: int) -> None:
    path = data / "ca" / name
    path.chmod(mode)
    told = str(refusal(data, CaExposed))
    assert f"its mode is {mode:04o}" in told
    assert f"chmod 600 {path}" in told


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_may_be_read_by_all_but_written_only_by_us(data: Path, name: str) -> None:
    path = data / "ca" / name
    path.chmod(0o444)
    make_authority(data)
    path.chmod(0o664)
    assert f"chmod 644 {path}" in str(refusal(data, CaExposed))


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777])
def test_a_folder_that_others_can_enter_is_refused(data: Path, mode: int) -> None:
    (data / "ca").chmod(mode)
    assert f"chmod 700 {data / 'ca'}" in str(refusal(data, CaExposed))


@pytest.mark.parametrize("name", KEYS + CERTIFICATES)
def test_no_symbolic_link_is_followed(data: Path, name: str) -> None:
    path = data / "ca" / name
    path.rename(data / name)
    path.symlink_to(data / name)
    assert "symbolic link" in str(refusal(data, CaExposed))


def test_a_pipe_in_place_of_a_key_is_refused_without_waiting(data: Path) -> None:
    path = data / "ca" / "devices.key"
    path.unlink()
    os.mkfifo(path, 0o600)
    assert "not a plain file" in str(refusal(data, CaExposed))


def test_a_linked_folder_is_refused(data: Path) -> None:
    (data / "ca").rename(data / "elsewhere")
    (data / "ca").symlink_to(data / "elsewhere")
    assert "not a folder itself" in str(refusal(data, CaExposed))


def test_a_file_of_another_user_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = (data / "ca").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)  # we cannot give files away unless we are root
    told = str(refusal(data, CaExposed))
    assert f"belongs to user {owner}" in told
    assert f"chown {owner + 1}" in told


def test_a_missing_data_folder_is_told_as_the_system_tells_it(tmp_path: Path) -> None:
    with pytest.raises(CaFileTrouble, match="No such file"):
        make_authority(tmp_path / "nowhere")


@pytest.mark.parametrize(("years", "role"), [(-1, "root"), (11, "devices"), (30, "root")])
def test_a_clock_outside_the_authoritys_dates_is_named(data: Path, years: int, role: str) -> None:
    clock = HandClock()
    clock.move(timedelta(days=366 * years))
    with pytest.raises(CaExpired) as refused:
        make_authority(data, clock)
    assert f"authority's {role} certificate" in str(refused.value)
    assert str(clock.now().date()) in str(refused.value)


# ── what can be told without a key ────────────────────────────────────────────────────────────────────


def test_the_description_names_root_devices_and_servers_in_that_order(data: Path) -> None:
    authority = make_authority(data)
    root, devices, servers = describe_authority(data / "ca")
    assert (root.role, devices.role, servers.role) == ("root", "devices", "servers")
    assert root.issuer == devices.issuer == servers.issuer == root.name
    assert root.fingerprint == authority.root_fingerprint().hex()
    assert (root.pem, devices.pem) == (authority.roots_pem(), authority.chain_pem())
    assert root.name.startswith("Keyborn Root ")
    assert int(root.serial, 16) > 0


def test_lifetimes_are_twenty_years_and_ten(data: Path) -> None:
    root, *intermediates = describe_authority(data / "ca")
    assert 20 <= (root.not_after - root.not_before).days / 365.25 <= 25
    for each in intermediates:
        assert round((each.not_after - each.not_before).days / 365.25) == 10
        assert root.not_before <= each.not_before < each.not_after <= root.not_after


def test_the_description_needs_no_key(data: Path) -> None:
    for name in KEYS:
        (data / "ca" / name).unlink()
    assert len(describe_authority(data / "ca")) == 3


def test_the_description_of_nothing_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CaMissing, match="keyborn serve"):
        describe_authority(tmp_path / "ca")


def test_the_description_of_an_exposed_folder_is_refused(data: Path) -> None:
    (data / "ca").chmod(0o777)
    with pytest.raises(CaExposed):
        describe_authority(data / "ca")


def test_no_private_value_appears_in_a_representation(data: Path) -> None:
    authority = open_authority(data / "ca", clock=HandClock(), entropy=ENTROPY)
    key = load_pem_private_key((data / "ca" / "devices.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    told = repr(vars(authority))
    assert "key=" not in told
    assert str(key.private_numbers().private_value) not in told


# ── replacing ─────────────────────────────────────────────────────────────────────────────────────────


def test_replacing_leaves_one_private_file(tmp_path: Path) -> None:
    path = tmp_path / "service.pem"
    for content in (b"first", b"second"):
        replace(path, content)
        assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["service.pem"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_replacing_clears_what_a_crash_left(tmp_path: Path) -> None:
    (tmp_path / ".service.pem.new").write_bytes(b"half")
    replace(tmp_path / "service.pem", b"whole")
    assert [each.name for each in tmp_path.iterdir()] == ["service.pem"]


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "service.pem"
    path.mkdir()  # rename(2) refuses to put a file over a folder
    with pytest.raises(CaFileTrouble):
        replace(path, b"new")
    assert path.is_dir()
    assert [each.name for each in tmp_path.iterdir()] == ["service.pem"]
