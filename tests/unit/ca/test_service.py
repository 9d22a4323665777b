"""The service's own certificate: made, reused, renewed in time, and kept when renewal fails."""

import ipaddress
import logging
import os
import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from keyborn.adapters.ca import ServiceIdentity, host_names, open_authority, service_names
from keyborn.adapters.ca.certificates import Contents
from keyborn.adapters.ca.service import CHECK_EVERY
from keyborn.domain.errors import CaDates, CaFileTrouble, InvalidSetting
from keyborn.domain.profile import SERVER_INTERMEDIATE, SERVICE, SERVICE_LIFETIME
from support.ca_world import ENTROPY, HandClock, make_authority

BACKDATE = timedelta(minutes=5)


class House:
    """One data folder, one clock, and as many starts of the service as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = HandClock()
        make_authority(folder, self.clock)

    @property
    def path(self) -> Path:
        return self.folder / "ca" / "service.pem"

    def start(self, *configured: str, lifetime: timedelta = SERVICE_LIFETIME) -> ServiceIdentity:
        authority = open_authority(self.folder / "ca", clock=self.clock, entropy=ENTROPY)
        identity = ServiceIdentity(
            self.folder / "ca",
            authority,
            names=service_names(configured),
            clock=self.clock,
            entropy=ENTROPY,
            lifetime=lifetime,
        )
        identity.prepare()
        return identity

    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates(self.path.read_bytes())[0]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_constructing_an_identity_touches_no_file(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    nowhere = tmp_path / "nowhere"
    ServiceIdentity(nowhere, authority, names=service_names(), clock=HandClock(), entropy=ENTROPY)
    assert not nowhere.exists()


def test_the_certificate_is_for_servers_under_every_name(house: House) -> None:
    house.start("gateway.example", "192.0.2.7")
    extensions = house.leaf().extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gateway.example"]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert addresses == ["192.0.2.7", "127.0.0.1", "::1"]
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_key_and_chain_are_one_private_file(house: House) -> None:
    identity = house.start()
    assert identity.server_chain_path == identity.server_key_path == house.path
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o600
    text = house.path.read_text()
    assert text.count("BEGIN PRIVATE KEY") == 1
    assert text.count("BEGIN CERTIFICATE") == 2


def test_the_certificate_lives_thirty_days(house: House) -> None:
    house.start()
    assert house.leaf().not_valid_after_utc == house.clock.now() + timedelta(days=30)


def test_a_good_certificate_survives_a_restart(house: House) -> None:
    house.start("gateway.example")
    before = house.path.read_bytes()
    house.start("gateway.example")
    assert house.path.read_bytes() == before


def test_the_order_of_names_does_not_matter(house: House) -> None:
    house.start("a.example", "b.example")
    before = house.path.read_bytes()
    house.start("b.example", "a.example")
    assert house.path.read_bytes() == before


def test_other_names_need_another_certificate_and_another_key(house: House) -> None:
    house.start()
    before = house.leaf()
    house.start("gateway.example")
    assert house.leaf().public_key() != before.public_key()


def spoil_with_nothing(house: House) -> None:
    house.path.write_bytes(b"")


def spoil_by_deleting(house: House) -> None:
    house.path.unlink()


def spoil_the_mode(house: House) -> None:
    house.path.chmod(0o644)


def spoil_with_a_link(house: House) -> None:
    house.path.rename(house.folder / "elsewhere")
    house.path.symlink_to(house.folder / "elsewhere")


def spoil_by_leaving_out_the_chain(house: House) -> None:
    head, mark, _ = house.path.read_text().partition("-----END CERTIFICATE-----\n")
    house.path.write_text(head + mark)


def spoil_with_another_key(house: House) -> None:
    certificates = house.path.read_text().partition("-----END PRIVATE KEY-----\n")[2]
    house.path.unlink()
    house.start()
    key = "".join(house.path.read_text().partition("-----END PRIVATE KEY-----\n")[:2])
    house.path.write_text(key + certificates)


def spoil_by_leaving_out_the_names(house: House) -> None:
    authority = open_authority(house.folder / "ca", clock=house.clock, entropy=ENTROPY)
    key = ec.generate_private_key(ec.SECP256R1())
    contents = Contents("Keyborn Service", key.public_key(), 7, SERVICE.validity(house.clock.now()))
    nameless = authority.issue_service(contents).public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    house.path.write_bytes(secret + nameless + authority.server_chain_pem().encode())


def spoil_by_restoring_another_authority(house: House) -> None:
    kept = house.path.read_bytes()
    for each in (house.folder / "ca").iterdir():
        each.unlink()
    make_authority(house.folder, house.clock)
    house.path.write_bytes(kept)
    house.path.chmod(0o600)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_with_nothing,
        spoil_by_deleting,
        spoil_the_mode,
        spoil_with_a_link,
        spoil_by_leaving_out_the_chain,
        spoil_with_another_key,
        spoil_by_leaving_out_the_names,
        spoil_by_restoring_another_authority,
    ],
)
def test_a_file_that_cannot_serve_is_made_anew(house: House, spoil: Callable[[House], None]) -> None:
    house.start()
    before = house.leaf()
    spoil(house)
    house.start()
    assert house.leaf().serial_number != before.serial_number
    assert stat.S_IMODE(house.path.lstat().st_mode) == 0o600
    assert not house.path.is_symlink()


def test_renewal_comes_at_one_third_of_the_time_left_and_not_before(house: House) -> None:
    identity = house.start()
    third = (SERVICE_LIFETIME + BACKDATE) / 3
    due = house.leaf().not_valid_after_utc - third
    house.clock.moment = due - timedelta(seconds=1)
    assert not identity.renew_if_due()
    house.clock.moment = due
    assert identity.renew_if_due()
    assert not identity.renew_if_due()
    assert house.leaf().not_valid_after_utc == due + SERVICE_LIFETIME


def test_a_clock_that_went_back_makes_a_certificate_that_holds_now(house: House) -> None:
    identity = house.start()
    house.clock.move(timedelta(hours=-1))
    assert identity.renew_if_due()
    assert house.leaf().not_valid_before_utc <= house.clock.now() <= house.leaf().not_valid_after_utc


def end_of_the_intermediate(house: House) -> datetime:
    return house.clock.now() + SERVER_INTERMEDIATE.lifetime


def test_a_certificate_that_still_holds_survives_a_failed_renewal(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    end = end_of_the_intermediate(house)
    house.clock.moment = end - SERVICE_LIFETIME
    identity = house.start()
    before = house.path.read_bytes()
    house.clock.moment = end - timedelta(days=1)
    with caplog.at_level(logging.WARNING, "keyborn.ca"):
        assert not identity.renew_if_due()
    assert "was not renewed" in caplog.text
    assert house.path.read_bytes() == before


def test_without_a_certificate_that_holds_a_failed_renewal_is_an_error(house: House) -> None:
    house.clock.moment = end_of_the_intermediate(house) - timedelta(days=1)
    with pytest.raises(CaDates):
        house.start()


def test_a_disk_that_refuses_is_told_and_the_old_certificate_stays(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    identity = house.start()
    before = house.path.read_bytes()
    house.clock.move(timedelta(days=25))

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "keyborn.ca"):
        patched.setattr(os, "write", full)
        assert not identity.renew_if_due()
    assert "No space left on device" in caplog.text
    assert house.path.read_bytes() == before
    assert not list(house.path.parent.glob(".*"))
    assert identity.renew_if_due()


def test_a_disk_that_refuses_at_first_start_is_an_error_that_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(CaFileTrouble, match="Input/output error"):
        house.start()


class EnoughError(Exception):
    """Ends a loop that runs for ever."""


async def test_keeping_fresh_renews_again_and_again_and_forgives_troubles(house: House) -> None:
    identity = house.start(lifetime=timedelta(hours=3))
    serials: list[int] = []

    async def sleep(seconds: float) -> None:
        assert seconds == CHECK_EVERY
        serials.append(house.leaf().serial_number)
        if len(serials) == 9:
            raise EnoughError
        if len(serials) == 5:
            house.path.unlink()
        house.clock.move(timedelta(hours=1))

    with pytest.raises(EnoughError):
        await identity.keep_fresh(sleep)
    assert len(set(serials)) >= 4


async def test_keeping_fresh_survives_a_disk_that_is_gone_for_a_while(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    identity = house.start()
    rounds = 0

    async def sleep(seconds: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            (house.folder / "ca").rename(house.folder / "away")
        if rounds == 2:
            (house.folder / "away").rename(house.folder / "ca")
            house.path.unlink()
        if rounds == 3:
            raise EnoughError

    with caplog.at_level(logging.WARNING, "keyborn.ca"), pytest.raises(EnoughError):
        await identity.keep_fresh(sleep)
    assert "is not fresh" in caplog.text
    assert house.path.exists()


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_loopback_addresses_are_always_named() -> None:
    assert host_names(service_names()) == {"127.0.0.1", "::1"}


def test_names_are_lower_case_and_come_once() -> None:
    names = service_names(["Gateway.Example.", "gateway.example", "[::1]", "127.0.0.1", "localhost"])
    assert [str(name.value) for name in names] == ["gateway.example", "::1", "127.0.0.1", "localhost"]


def test_addresses_to_listen_on_are_no_names() -> None:
    assert host_names(service_names(["0.0.0.0", "::"])) == host_names(service_names())


def test_addresses_become_addresses_not_names() -> None:
    (first, *_) = service_names(["2001:db8::7"])
    assert first == x509.IPAddress(ipaddress.ip_address("2001:db8::7"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "*.example",
        "a b",
        "a..b",
        "-a.example",
        "a-.example",
        "under_score.example",
        "bücher.example",
        "300.1.1.1",
        "1.2.3",
        "gateway.example:8443",
        "https://gateway.example",
        "a" * 64 + ".example",
        ".".join(["abcdefgh"] * 30),
        "a\x00b",
        "a\n",
    ],
)
def test_what_is_no_host_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="no host name and no IP address"):
        service_names([text])
