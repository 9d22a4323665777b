"""Is it ours: one certificate wrong in one way at a time."""

import hashlib
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from keyborn.device.answer import Broker, Enrolled
from keyborn.device.trust import Window
from keyborn.device.verify import MAX_CHAIN, read_many, read_one, to_pem, verify_enrolled
from keyborn.domain.errors import WrongCertificate
from keyborn.domain.names import ThingName
from keyborn.domain.profile import BACKDATE
from support.csr_make import make_key, shared_key
from support.device_pki import DAY, Wanted, certify, public_der, subordinate
from support.pki import Authority, new_pki, pem, shared_pki

THING = ThingName("gateway-1")
NOW = datetime.now(UTC)
PKI = shared_pki()
KEY = shared_key()
CA = Wanted(name="ca", authority=True, usages=None, signs=False, signs_certificates=True, path_length=0)


def enrolled(leaf: x509.Certificate, *chain: x509.Certificate, thing: str = THING) -> Enrolled:
    digest = hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    broker = Broker("localhost", 8883, None, "mqtts", thing, f"certtest/{thing}")
    return Enrolled(thing, digest, pem(leaf), pem(*chain), PKI.root_pem, broker)


def check(
    answer: Enrolled, *, now: datetime | Window = NOW, anchors: list[x509.Certificate] | None = None
) -> x509.Certificate:
    return verify_enrolled(
        answer,
        thing=THING,
        public_key_der=public_der(KEY),
        anchors=[PKI.root.certificate] if anchors is None else anchors,
        window=now if isinstance(now, Window) else Window(now, now),
    )


def leaf(wanted: Wanted | None = None, issuer: Authority | None = None) -> x509.Certificate:
    return certify(issuer or PKI.devices, KEY.public_key(), wanted)


def refused(answer: Enrolled, why: str, **options: object) -> None:
    with pytest.raises(WrongCertificate, match=why):
        check(answer, **options)  # type: ignore[arg-type] # the options of check


DEVICES = PKI.devices.certificate


# ── the leaf ──


def test_a_good_certificate_is_ours() -> None:
    good = leaf()
    assert check(enrolled(good, DEVICES)) == good


def test_the_chain_may_end_with_the_root_itself() -> None:
    check(enrolled(leaf(), DEVICES, PKI.root.certificate))


def test_a_leaf_that_the_root_signed_itself_is_fine() -> None:
    good = leaf(issuer=PKI.root)
    check(enrolled(good, PKI.root.certificate))


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Wanted(name="gateway-2"), "another name"),
        (Wanted(name="GATEWAY-1"), "another name"),
        (Wanted(second_name="gateway-2"), "another name"),
        (Wanted(second_name="gateway-1"), "another name"),
        (Wanted(authority=True), "certificate authority"),
        (Wanted(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)), "clientAuth"),
        (Wanted(usages=None), "clientAuth"),
        (Wanted(signs=False), "digitalSignature"),
        (Wanted(strange=True), "critical extension"),
        (Wanted(start=NOW + DAY), "valid only from"),
        (Wanted(start=NOW - 9 * DAY, end=NOW - DAY), "expired"),
    ],
)
def test_a_leaf_that_is_wrong_in_one_way(wanted: Wanted, why: str) -> None:
    refused(enrolled(leaf(wanted), DEVICES), why)


@pytest.mark.parametrize(
    "usages",
    [
        (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
        (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,),
    ],
)
def test_more_uses_than_a_client_s_are_fine(usages: tuple[x509.ObjectIdentifier, ...]) -> None:
    check(enrolled(leaf(Wanted(usages=usages)), DEVICES))


def test_a_leaf_without_basic_constraints_is_no_authority() -> None:
    check(enrolled(leaf(Wanted(basic=False)), DEVICES))


def test_a_leaf_for_another_key() -> None:
    other = certify(PKI.devices, make_key().public_key())
    refused(enrolled(other, DEVICES), "another key")


def test_an_answer_that_names_another_thing() -> None:
    refused(enrolled(leaf(), DEVICES, thing="gateway-2"), "another name")


def test_an_id_that_is_another_certificate_s() -> None:
    one, two = enrolled(leaf(), DEVICES), enrolled(leaf(), DEVICES)
    mixed = Enrolled(THING, two.certificate_id, one.certificate_pem, one.chain_pem, one.roots_pem, one.broker)
    refused(mixed, "SHA-256")


@pytest.mark.parametrize("edge", ["first", "last"])
def test_the_first_and_the_last_second_count(edge: str) -> None:
    good = leaf()
    check(
        enrolled(good, DEVICES),
        now=good.not_valid_before_utc if edge == "first" else good.not_valid_after_utc,
    )


@pytest.mark.parametrize("edge", ["before", "after"])
def test_a_second_outside_does_not(edge: str) -> None:
    good, second = leaf(), timedelta(seconds=1)
    first = good.not_valid_before_utc - BACKDATE
    moment = first - second if edge == "before" else good.not_valid_after_utc + second
    refused(enrolled(good, DEVICES), "valid only|expired", now=moment)


def test_a_clock_as_slow_as_the_code_allows_takes_a_certificate_of_now() -> None:
    """AWS IoT dates certificates two minutes back, and a clock may be five minutes slow."""
    good = leaf(Wanted(usages=None, start=NOW - timedelta(minutes=2)))
    check(enrolled(good), now=good.not_valid_before_utc - BACKDATE)


def test_the_slow_clock_excuses_no_authority() -> None:
    young = subordinate(PKI.root, replace(CA, start=NOW))
    answer = enrolled(leaf(Wanted(start=NOW - DAY), issuer=young), young.certificate)
    check(answer, now=NOW + timedelta(seconds=1))
    refused(answer, "valid only from", now=NOW - timedelta(minutes=1))


def test_with_an_overruled_clock_any_moment_of_the_window_will_do() -> None:
    """A code is older than its certificate: its first moment alone would refuse every one."""
    check(enrolled(leaf(), DEVICES), now=Window(NOW - DAY / 2, NOW + DAY))
    refused(enrolled(leaf(), DEVICES), "valid only", now=Window(NOW - 2 * DAY, NOW - DAY / 2))


# ── no chain ──


def test_where_no_chain_is_published_the_leaf_alone_is_checked() -> None:
    """AWS IoT Core: no chain, no extended key usage."""
    check(enrolled(leaf(Wanted(usages=None))))
    refused(enrolled(leaf(Wanted(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)))), "clientAuth")


# ── the chain ──


def test_a_chain_to_another_root() -> None:
    refused(enrolled(leaf(), DEVICES), "trusted root", anchors=[new_pki().root.certificate])
    refused(enrolled(leaf(), DEVICES), "trusted root", anchors=[])


def test_a_root_of_the_same_name_is_another_root() -> None:
    twin = new_pki()
    assert twin.root.certificate.subject == PKI.root.certificate.subject
    refused(enrolled(leaf(issuer=twin.devices), twin.devices.certificate), "trusted root")


def test_a_chain_out_of_order_or_of_strangers() -> None:
    refused(enrolled(leaf(), PKI.servers.certificate), "hold together")
    middle = subordinate(PKI.root, CA)
    refused(enrolled(leaf(), middle.certificate, DEVICES), "may not sign|hold together|longer")


def test_a_chain_that_leaves_out_the_intermediate() -> None:
    refused(enrolled(leaf(), PKI.root.certificate), "trusted root|hold together")


def test_a_leaf_signed_by_another_leaf() -> None:
    """A device must not be able to make devices."""
    impostor = subordinate(PKI.devices, Wanted(name="other-device"))
    refused(enrolled(leaf(issuer=impostor), impostor.certificate, DEVICES), "may not sign")


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Wanted(name="ca", authority=True, usages=None, signs_certificates=False), "may not sign"),
        (
            Wanted(
                name="ca",
                authority=True,
                usages=(ExtendedKeyUsageOID.SERVER_AUTH,),
                signs=False,
                signs_certificates=True,
            ),
            "clients",
        ),
        (
            Wanted(
                name="ca",
                authority=True,
                usages=None,
                signs_certificates=True,
                start=NOW - 9 * DAY,
                end=NOW - DAY,
            ),
            "expired",
        ),
        (Wanted(name="ca", authority=True, usages=None, signs_certificates=True, strange=True), "critical"),
        (Wanted(name="ca", basic=False, usages=None, signs_certificates=True), "may not sign"),
    ],
)
def test_an_intermediate_that_is_wrong_in_one_way(wanted: Wanted, why: str) -> None:
    wrong = subordinate(PKI.root, wanted)
    refused(enrolled(leaf(issuer=wrong), wrong.certificate), why)


def test_a_path_that_is_longer_than_allowed() -> None:
    first = subordinate(PKI.root, CA)
    second = subordinate(first, CA)
    refused(enrolled(leaf(issuer=second), second.certificate, first.certificate), "longer")


def test_a_long_path_that_is_allowed() -> None:
    one = subordinate(PKI.root, Wanted(name="ca1", authority=True, usages=None, signs_certificates=True))
    two = subordinate(one, CA)
    check(enrolled(leaf(issuer=two), two.certificate, one.certificate))


def test_the_server_side_s_intermediate_cannot_make_devices() -> None:
    servers = subordinate(
        PKI.root,
        Wanted(
            name="servers",
            authority=True,
            usages=(ExtendedKeyUsageOID.SERVER_AUTH,),
            signs=False,
            signs_certificates=True,
        ),
    )
    refused(enrolled(leaf(issuer=servers), servers.certificate), "clients")


# ── reading ──


def test_a_text_may_hold_none_one_or_many() -> None:
    assert read_many(" \n") == []
    assert read_many(PKI.client_ca_pem) == [PKI.root.certificate, DEVICES]
    assert to_pem(read_many(PKI.client_ca_pem)) == PKI.client_ca_pem
    assert read_one(PKI.root_pem) == PKI.root.certificate


@pytest.mark.parametrize("text", ["", PKI.client_ca_pem])
def test_one_means_one(text: str) -> None:
    with pytest.raises(WrongCertificate, match="in the place of one"):
        read_one(text)


@pytest.mark.parametrize(
    "text", ["hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", PKI.root_pem[:200]]
)
def test_rubbish_is_no_certificate(text: str) -> None:
    with pytest.raises(WrongCertificate, match="cannot be read"):
        read_many(text)


def test_a_chain_without_end_is_not_read() -> None:
    with pytest.raises(WrongCertificate, match=f"more than {MAX_CHAIN}"):
        read_many(PKI.root_pem * (MAX_CHAIN + 1))


def test_every_flipped_byte_of_a_certificate_is_refused() -> None:
    """Whatever a broken line or a hostile one makes of it, it is never taken for ours and never a crash."""
    der = leaf().public_bytes(Encoding.DER)
    for position in range(len(der)):
        broken = bytearray(der)
        broken[position] ^= 0x21
        text = ssl.DER_cert_to_PEM_cert(bytes(broken))
        answer = enrolled(leaf(), DEVICES)
        mixed = Enrolled(
            THING, hashlib.sha256(broken).hexdigest(), text, answer.chain_pem, answer.roots_pem, answer.broker
        )
        with pytest.raises(WrongCertificate):
            check(mixed)
