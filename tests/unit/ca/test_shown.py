"""A client certificate that a proxy shows is taken exactly where our own TLS would have taken it."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, strategies as st

from keyborn.adapters.ca import ShownCertificates, https_context, introduce_root, retire_root, switch_root
from keyborn.domain.errors import ClientCertificateRefused
from support.ca_world import ENTROPY, HandClock, approved_for, issue, make_authority
from support.pki import SERVER, Leaf, Pki, new_pki

PKI, OTHER = new_pki(), new_pki()
NOW, DAY = datetime.now(UTC), timedelta(days=1)
CASES: dict[str, tuple[Callable[[Pki], Leaf], bool]] = {
    "a device's": (lambda pki: pki.devices.leaf("lamp"), True),
    "of the root itself": (lambda pki: pki.root.leaf("lamp"), True),
    "expired": (lambda pki: pki.devices.leaf("lamp", start=NOW - 2 * DAY, end=NOW - DAY), False),
    "not yet": (lambda pki: pki.devices.leaf("lamp", start=NOW + DAY, end=NOW + 2 * DAY), False),
    "a server's": (lambda pki: pki.devices.leaf("lamp", usage=SERVER), False),
    "of the authority for servers": (lambda pki: pki.servers.leaf("lamp"), False),
    "of another world, of the same names": (lambda _pki: OTHER.devices.leaf("lamp"), False),
    "of another world, with its chain": (lambda _pki: OTHER.devices.leaf("lamp", between=True), False),
    "an authority": (lambda pki: Leaf(pki.devices.certificate, pki.devices.key, ()), False),
}


def taken(der: bytes, *, trusted: str = PKI.client_ca_pem, clock: HandClock | None = None) -> bool:
    try:
        ShownCertificates(lambda: trusted, clock or HandClock()).verify(der)
    except ClientCertificateRefused:
        return False
    return True


def taken_by_tls(leaf: Leaf, folder: Path) -> bool:
    """What the service's own listener says of it, in memory."""
    server = https_context(*PKI.servers.leaf("service", usage=SERVER).write(folder, "s"), PKI.client_ca_pem)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.load_cert_chain(*leaf.write(folder, "c"))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [server.wrap_bio(there, back, server_side=True), client.wrap_bio(back, there)]
    done: set[int] = set()
    for _ in range(6):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    assert done == {0, 1}
    return ends[0].getpeercert(binary_form=True) == leaf.der


@pytest.mark.parametrize("name", CASES)
def test_it_is_taken_exactly_where_tls_takes_it(name: str, tmp_path: Path) -> None:
    make, good = CASES[name]
    leaf = make(PKI)
    assert taken(leaf.certificate.public_bytes(Encoding.DER)) is good
    assert taken_by_tls(leaf, tmp_path) is good


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "rsa2048"])
def test_what_we_issue_is_taken_for_as_long_as_it_holds(key_type: str, tmp_path: Path) -> None:
    from support.csr_make import shared_key

    clock = HandClock()
    authority = make_authority(tmp_path, clock)
    leaf = issue(authority, approved_for("lamp", shared_key(key_type)))
    der, shown = leaf.public_bytes(Encoding.DER), ShownCertificates(authority.client_ca_pem, clock)
    shown.verify(der)
    clock.moment = leaf.not_valid_after_utc
    shown.verify(der)
    clock.move(timedelta(seconds=1))
    with pytest.raises(ClientCertificateRefused):
        shown.verify(der)


def test_a_change_of_the_root_is_followed(tmp_path: Path) -> None:
    def change(step: Callable[..., object], **more: object) -> None:
        step(tmp_path / "ca", now=HandClock().now(), passphrase=None, **more)

    old = issue(make_authority(tmp_path), approved_for("lamp")).public_bytes(Encoding.DER)
    change(introduce_root, entropy=ENTROPY)
    change(switch_root, back=False)
    authority = make_authority(tmp_path)
    new = issue(authority, approved_for("fan")).public_bytes(Encoding.DER)
    assert taken(old, trusted=authority.client_ca_pem())
    assert taken(new, trusted=authority.client_ca_pem())
    change(retire_root)
    trusted = make_authority(tmp_path).client_ca_pem()
    assert (taken(old, trusted=trusted), taken(new, trusted=trusted)) == (False, True)


GOOD = PKI.devices.leaf("lamp").certificate
GOOD_DER = GOOD.public_bytes(Encoding.DER)


@given(st.integers(0, len(GOOD_DER) - 1), st.integers(1, 255))
def test_no_byte_of_it_can_be_changed(at: int, by: int) -> None:
    changed = bytearray(GOOD_DER)
    changed[at] ^= by
    assert not taken(bytes(changed))


@given(st.binary(max_size=600))
def test_hostile_bytes_are_refused(der: bytes) -> None:
    assert not taken(der)


def test_nothing_may_follow_it() -> None:
    assert taken(GOOD_DER)
    assert not taken(GOOD_DER + b"\0")
    assert not taken(GOOD_DER[:-1])
    assert x509.load_der_x509_certificate(GOOD_DER) == GOOD
