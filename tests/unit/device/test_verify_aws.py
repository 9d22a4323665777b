"""Is it ours, where AWS IoT Core signed it: no chain, no issuer to be had, until the end of 2049."""

import hashlib
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keyborn.device.answer import Broker, Enrolled
from keyborn.device.trust import Window
from keyborn.device.verify import verify_enrolled
from keyborn.domain.errors import WrongCertificate
from keyborn.domain.names import ThingName
from support.aws_certificate import BACK, END, Shape, aws_certificate
from support.csr_make import make_key, shared_key
from support.device_pki import DAY, public_der
from support.pki import new_pki, pem, shared_pki

THING = ThingName("gateway-1")
KEY = shared_key()
NOW = datetime.now(UTC)
BROKER = Broker("a1-ats.iot.eu-west-1.amazonaws.com", 8883, None, "mqtts", THING, "certtest/gateway-1")


def answer(leaf: x509.Certificate, *chain: x509.Certificate) -> Enrolled:
    digest = hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    return Enrolled(THING, digest, pem(leaf), pem(*chain), "", BROKER)


def check(enrolled: Enrolled, now: datetime | None = None, *, pinned: bool = False) -> x509.Certificate:
    """As a device does whose code names a public authority, or a root of the operator's own."""
    anchors = [shared_pki().root.certificate] if pinned else []
    at = now or datetime.now(UTC)
    window = Window(at, at)
    return verify_enrolled(
        enrolled, thing=THING, public_key_der=public_der(KEY), anchors=anchors, window=window
    )


def refused(enrolled: Enrolled, why: str, now: datetime | None = None) -> None:
    for pinned in (False, True):
        with pytest.raises(WrongCertificate, match=why):
            check(enrolled, now, pinned=pinned)


# ── the real shape ──


@pytest.mark.parametrize("pinned", [False, True], ids=["public authority", "pinned root of a custom domain"])
def test_a_certificate_of_aws_is_ours(pinned: bool) -> None:  # noqa: FBT001 - pytest's
    leaf = aws_certificate(KEY)
    assert check(answer(leaf), pinned=pinned) == leaf


def test_its_shape_is_the_one_of_aws() -> None:
    """What the checks below mean depends on it."""
    leaf = aws_certificate(KEY)
    critical = {each.oid._name: each.critical for each in leaf.extensions}
    assert critical == {
        "authorityKeyIdentifier": False,
        "subjectKeyIdentifier": False,
        "basicConstraints": True,
        "keyUsage": True,
    }
    assert leaf.not_valid_after_utc == END
    assert abs(datetime.now(UTC) - BACK - leaf.not_valid_before_utc) < timedelta(minutes=1)


def test_the_subject_may_hold_what_the_request_held() -> None:
    more = ((NameOID.COUNTRY_NAME, "JP"), (NameOID.ORGANIZATION_NAME, "Example"))
    check(answer(aws_certificate(KEY, Shape(more=more))))


@pytest.mark.parametrize("key_type", ["p384", "p521", "rsa2048"])
def test_every_kind_of_key_is_fine(key_type: str) -> None:
    key = shared_key(key_type)
    enrolled = answer(aws_certificate(key))
    now = datetime.now(UTC)
    window = Window(now, now)
    verify_enrolled(enrolled, thing=THING, public_key_der=public_der(key), anchors=[], window=window)


# ── wrong in one way ──


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (Shape(name="gateway-2"), "another name"),
        (Shape(name="AWS IoT Certificate"), "another name"),
        (Shape(more=((NameOID.COMMON_NAME, "gateway-2"),)), "another name"),
        (Shape(authority=True), "certificate authority"),
        (Shape(signs=False), "digitalSignature"),
        (Shape(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)), "clientAuth"),
        (Shape(start=NOW - 9 * DAY, end=NOW - DAY), "expired"),
        (Shape(start=NOW + DAY), "valid only from"),
    ],
)
def test_a_certificate_that_is_wrong_in_one_way(shape: Shape, why: str) -> None:
    refused(answer(aws_certificate(KEY, shape)), why)


def test_a_certificate_for_another_key() -> None:
    refused(answer(aws_certificate(make_key())), "another key")


@pytest.mark.parametrize("wrong", ["0" * 64, "f" * 64])
def test_an_id_that_is_not_the_hash_of_its_bytes(wrong: str) -> None:
    """The registry knows it by its id: with another one the operator would revoke another certificate."""
    refused(replace(answer(aws_certificate(KEY)), certificate_id=wrong), "SHA-256")


def test_an_id_that_is_the_hash_of_the_text_or_of_the_key() -> None:
    good = answer(aws_certificate(KEY))
    for other in (good.certificate_pem.encode(), public_der(KEY)):
        refused(replace(good, certificate_id=hashlib.sha256(other).hexdigest()), "SHA-256")


def test_the_same_request_signed_twice_does_not_mix() -> None:
    """AWS signs another certificate each time: the id of one is not the id of the other."""
    one, two = answer(aws_certificate(KEY)), answer(aws_certificate(KEY))
    refused(replace(one, certificate_id=two.certificate_id), "SHA-256")


def test_a_chain_that_is_shown_must_be_right() -> None:
    """No chain is AWS's way; a wrong one is a mistake, or somebody's attempt."""
    for chain in (shared_pki().devices.certificate, new_pki().root.certificate):
        refused(answer(aws_certificate(KEY), chain), "clientAuth|hold together")


def test_a_chain_of_rubbish_is_refused() -> None:
    refused(replace(answer(aws_certificate(KEY)), chain_pem="AAAA"), "cannot be read")


def test_two_certificates_in_the_place_of_one() -> None:
    leaf = aws_certificate(KEY)
    refused(replace(answer(leaf), certificate_pem=pem(leaf, leaf)), "in the place of one")


# ── its dates ──


def test_it_is_good_from_its_first_to_its_last_second() -> None:
    leaf = aws_certificate(KEY)
    for moment in (leaf.not_valid_before_utc, datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC), END):
        check(answer(leaf), moment)
    refused(answer(leaf), "expired at 2049-12-31T23:59:59Z", END + timedelta(seconds=1))


def test_a_clock_five_minutes_slow_takes_it() -> None:
    """Enrolment codes take such a clock, and AWS dates a certificate back by two minutes only."""
    leaf = aws_certificate(KEY)
    check(answer(leaf), leaf.not_valid_before_utc + BACK - timedelta(minutes=5))


@pytest.mark.parametrize(
    ("end", "tag"),
    [
        (END, b"\x17\x0d491231235959Z"),
        (END + timedelta(seconds=1), b"\x18\x0f20500101000000Z"),
        (datetime(2055, 6, 1, tzinfo=UTC), b"\x18\x0f20550601000000Z"),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x18\x0f99991231235959Z"),
    ],
)
def test_both_kinds_of_time_are_read_in_the_right_century(end: datetime, tag: bytes) -> None:
    """UTCTime ends with 2049: a year of 49 is 2049, and 50 would be 1950 (RFC 5280 4.1.2.5)."""
    leaf = aws_certificate(KEY, Shape(end=end))
    assert tag in leaf.public_bytes(Encoding.DER)
    assert check(answer(leaf)).not_valid_after_utc == end
    check(answer(leaf), end)


def test_a_year_of_50_as_utc_time_is_long_over() -> None:
    """What a careless authority writes for 2050."""
    der = aws_certificate(KEY).public_bytes(Encoding.DER).replace(b"491231235959Z", b"500101000000Z")
    leaf = x509.load_der_x509_certificate(der)
    assert leaf.not_valid_after_utc.year == 1950
    refused(answer(leaf), "expired at 1950")


def test_bytes_that_are_no_certificate_under_their_own_hash() -> None:
    der = aws_certificate(KEY).public_bytes(Encoding.DER)
    for broken in (der[:-1], der + b"\x00", der[:40] + b"\xff" * 8 + der[48:]):
        text = ssl.DER_cert_to_PEM_cert(broken)
        mixed = replace(answer(aws_certificate(KEY)), certificate_pem=text)
        refused(replace(mixed, certificate_id=hashlib.sha256(broken).hexdigest()), "cannot be read")
