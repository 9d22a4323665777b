"""Chains of manufacturers: what IEEE 802.1AR permits is taken, and nothing that RFC 5280 forbids."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import example, given, strategies as st

from keyborn.domain.errors import FactoryExpired, FactoryNotYet, FactoryRefused
from keyborn.domain.factory_chain import FactoryCertificate, read_authorities, verify_chain
from support.csr_make import make_key, shared_key
from support.factory import FOR_EVER, MADE, Maker, Wanted, authority, manufacturer, usage

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ROOT = manufacturer()
PLANT = ROOT.authority("Plant 7", 0)
DEVICE = PLANT.device()
CA = authority()
VERSION_1 = base64.b64decode(
    "MIIBFjCBvgIURvY8hmaC4ZlEgdgV8GQx75HqHh4wCgYIKoZIzj0EAwIwDzENMAsGA1UEAwwEUm9vdDAgFw0yNjExMjMyMTAy"
    "MzlaGA8yMTI2MTAzMDIxMDIzOVowDDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGWv9ToDveFGC0FJ"
    "IVLBdoAoynMgJ3PqVqS02QBa6+Ow4IAhgHldh1tjvOycB2BNoupqLjuY3SREIg5DBxWwZ84wCgYIKoZIzj0EAwIDRwAwRAIg"
    "W9GliGrUY0xprnKC+8SAdjhCwk9mp/aATwOb+qhnHw4CICqei5fHcpp1G59UCkdxfEpbrYeOw+Ii/HZSOU2q4t92"
)
"""What `openssl x509 -req` makes of a request without extensions; nothing here can make one."""
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CRITICAL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)


def verified(*chain: Maker, roots: Sequence[Maker] = (ROOT,), at: datetime = NOW) -> FactoryCertificate:
    return verify_chain([each.der for each in chain], [each.certificate for each in roots], at)


def refused(*chain: Maker, roots: Sequence[Maker] = (ROOT,), at: datetime = NOW) -> str:
    with pytest.raises(FactoryRefused) as refusal:
        verified(*chain, roots=roots, at=at)
    return str(refusal.value.facts["detail"])


# ── taken ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_of_a_plant_below_the_registered_root_is_taken() -> None:
    found = verified(DEVICE, PLANT)
    assert found.fingerprint == DEVICE.certificate.fingerprint(hashes.SHA256()).hex()
    assert found.public_key == DEVICE.key.public_key()
    assert found.values == {
        "common_name": "widget",
        "serial_number": "SN-1",
        "serial": f"{DEVICE.certificate.serial_number:x}",
    }


def test_an_idevid_without_usages_is_good_for_ever() -> None:
    plain = PLANT.below("widget")
    assert plain.certificate.not_valid_after_utc == FOR_EVER
    assert not plain.certificate.extensions
    verified(plain, PLANT, at=datetime(2199, 1, 1, tzinfo=UTC))


def test_the_root_may_be_sent_too_and_the_order_of_issuers_is_free() -> None:
    upper = ROOT.authority("Upper", 1)
    lower = upper.authority("Lower", 0)
    verified(lower.device(), ROOT, lower, upper)


def test_an_authority_below_a_root_may_be_registered_by_itself() -> None:
    verified(DEVICE, roots=[PLANT])
    assert "no authority of the group" in refused(PLANT.device(), roots=[ROOT.authority("Plant 8")])


def test_what_other_makers_write_into_a_device_is_no_matter() -> None:
    hardware = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"), b"\x30\x00")
    odd = PLANT.device(
        "SN-2",
        (x509.SubjectAlternativeName([hardware]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False),
    )
    verified(odd, PLANT)


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048"])
def test_each_kind_of_key_that_a_device_may_have_is_good_here(kind: str) -> None:
    maker = manufacturer("Other Root", key=shared_key(kind))
    verified(maker.below("widget", key=shared_key(kind)), roots=[maker])


def test_a_name_that_stands_twice_or_not_at_all_is_left_out() -> None:
    twice = ROOT.below("a", Wanted(names=[(NameOID.COMMON_NAME, "b")]))
    assert verified(twice).values.keys() == {"serial"}


def test_several_authorities_of_a_group_are_read_from_one_text() -> None:
    other = manufacturer("Other")
    authorities = read_authorities(ROOT.pem + other.pem)
    verify_chain([other.device().der], authorities, NOW)
    verify_chain([DEVICE.der, PLANT.der], authorities, NOW)


# ── refused ───────────────────────────────────────────────────────────────────────────────────────────


def test_another_makers_device_is_refused_whatever_its_root_is_called() -> None:
    fake = manufacturer("Maker Root")
    assert fake.certificate.subject == ROOT.certificate.subject
    assert "no authority of the group" in refused(fake.device())
    assert "no authority of the group" in refused(fake.device(), fake)
    assert "no authority of the group" in refused(DEVICE)


def test_a_certificate_that_nobody_signed_is_refused() -> None:
    forged = Maker(DEVICE.certificate, make_key())
    lent = Maker(PLANT.certificate, make_key()).device()
    assert "no authority" in refused(lent, PLANT)
    assert verified(forged, PLANT).public_key != forged.key.public_key()


def test_the_dates_of_each_certificate_count() -> None:
    late = ROOT.below("late", Wanted(ends=NOW - timedelta(seconds=1)))
    early = ROOT.below("early", Wanted(begins=NOW + timedelta(seconds=1)))
    with pytest.raises(FactoryExpired):
        verified(late)
    with pytest.raises(FactoryNotYet):
        verified(early)
    plant = ROOT.below("old plant", Wanted(ends=NOW - timedelta(days=1), extensions=[CA]))
    with pytest.raises(FactoryExpired):
        verified(plant.device(), plant)
    old = manufacturer("Old", Wanted(ends=NOW - timedelta(days=1), extensions=[CA]))
    assert refused(old.device(), roots=[old])
    with pytest.raises(FactoryNotYet):
        verified(DEVICE, PLANT, at=MADE - timedelta(days=1))


def test_who_is_no_authority_vouches_for_nobody() -> None:
    assert "no authority" in refused(DEVICE.below("child"), DEVICE, PLANT)
    told = ROOT.below("told", Wanted(extensions=[authority(ca=False)]))
    assert "an issuer is no authority" in refused(told.device(), told)
    silent = ROOT.below("silent", Wanted(extensions=[CA, usage(signs=True)]))
    assert "an issuer may not sign certificates" in refused(silent.device(), silent)
    verified(*[(may := ROOT.authority("may", None, usage(certifies=True))).device(), may])


def test_an_authority_is_no_device() -> None:
    assert "one of an authority" in refused(PLANT)
    assert "one of an authority" in refused(ROOT)


def test_a_key_that_may_not_sign_signs_nothing() -> None:
    assert "key usage" in refused(ROOT.below("widget", Wanted(extensions=[usage()])))


def test_an_authority_keeps_to_the_length_that_it_was_given() -> None:
    below = PLANT.authority("Below")
    assert "longer than an authority" in refused(below.device(), below, PLANT)


def test_a_chain_without_end_is_refused() -> None:
    line = [ROOT]
    for number in range(8):
        line.append(line[-1].authority(f"Level {number}"))
    assert refused(line[-1].device(), *line[1:])


def test_issuers_that_vouch_for_one_another_are_refused() -> None:
    one_key, other_key = make_key(), make_key()
    one = manufacturer("One", key=one_key)
    other = one.below("Other", Wanted(extensions=[CA]), key=other_key)
    back = other.below("One", Wanted(extensions=[CA]), key=one_key)
    assert refused(other.device(), other, back)


def test_a_critical_extension_that_nobody_knows_is_refused_everywhere() -> None:
    assert "critical" in refused(PLANT.device("SN-3", CRITICAL), PLANT)
    plant = ROOT.authority("Odd", None, CRITICAL)
    assert "critical" in refused(plant.device(), plant)


def test_a_certificate_of_the_nineties_is_said_to_be_one() -> None:
    with pytest.raises(FactoryRefused, match="version 3"):
        verify_chain([VERSION_1], [ROOT.certificate], NOW)


def test_names_outside_what_an_issuer_may_give_are_refused() -> None:
    only = x509.NameConstraints([x509.DNSName("a.example")], None)
    plant = ROOT.authority("Bound", None, (only, True))
    said = (x509.SubjectAlternativeName([x509.DNSName("b.example")]), False)
    assert "names" in refused(plant.device("SN-4", said), plant)


def test_broken_algorithms_and_weak_keys_are_refused() -> None:
    odd = ROOT.below("odd", Wanted(digest=hashes.SHA224()))
    assert "algorithm" in refused(odd)
    small = rsa.generate_private_key(65537, 1024)
    assert "not taken" in refused(ROOT.below("small", key=small))
    maker = manufacturer("Small Root", key=small)
    assert refused(maker.device(), roots=[maker])
    plant = ROOT.below("Small plant", Wanted(extensions=[CA]), key=small)
    assert "not taken" in refused(plant.device(), plant)
    bitcoin = ec.generate_private_key(ec.SECP256K1())
    assert "not taken" in refused(ROOT.below("k1", key=bitcoin))
    one = ec.derive_private_key(1, ec.SECP256R1())
    assert "not taken" in refused(ROOT.below("one", key=one))


def test_no_answer_holds_what_the_caller_wrote() -> None:
    mark = "Canary-7f3a"
    fake = manufacturer(mark)
    for chain in ([fake.device(mark, name=mark)], [ROOT.below(mark, Wanted(extensions=[CRITICAL]))]):
        assert mark not in refused(*chain)


def rewritten(device: Maker) -> bytes:
    """The same certificate with the other of the two signatures that one makes two of."""
    old = device.certificate.signature
    r, s = decode_dss_signature(old)
    other = encode_dss_signature(r, P256_ORDER - s)
    signed = device.der[4 : -len(old) - 3]  # without the outermost length, and before the bit string
    inner = signed + bytes([0x03, len(other) + 1, 0]) + other
    return b"\x30\x82" + len(inner).to_bytes(2) + inner


# ── anything ──────────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=200))
def test_no_bytes_are_a_certificate_by_chance(raw: bytes) -> None:
    with pytest.raises(FactoryRefused):
        verify_chain([raw], [ROOT.certificate], NOW)
    with pytest.raises(FactoryRefused):
        verify_chain([DEVICE.der, raw], [ROOT.certificate], NOW)


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")  # by the change
@given(st.integers(0, len(DEVICE.der) - 1), st.integers(1, 255))
@example(at=DEVICE.der.index(b"\x02\x01\x02\x02") + 5, change=0x80)
def test_no_changed_byte_of_a_certificate_is_taken(at: int, change: int) -> None:
    raw = bytearray(DEVICE.der)
    raw[at] ^= change
    with pytest.raises((FactoryRefused, FactoryExpired, FactoryNotYet)):
        verify_chain([bytes(raw), PLANT.der], [ROOT.certificate], NOW)


def test_a_signature_is_of_whole_octets() -> None:
    """Readers of X.509 cut unused bits off: seven other ways to write one certificate, if they are zero."""
    even = next(each for each in map(PLANT.device, map(str, range(99))) if not each.der[-1] & 1)
    raw = bytearray(even.der)
    unused = len(raw) - len(even.certificate.signature) - 1
    assert raw[unused] == 0
    raw[unused] = 1
    assert x509.load_der_x509_certificate(bytes(raw)).signature == even.certificate.signature
    with pytest.raises(FactoryRefused, match="cannot be read"):
        verify_chain([bytes(raw), PLANT.der], [ROOT.certificate], NOW)


def test_the_two_ways_to_write_a_signature_of_ecdsa_are_one_certificate() -> None:
    """Whoever has (r, s) has (r, n - s), which is as good: the account is of what was signed."""
    twin = rewritten(DEVICE)
    assert twin != DEVICE.der
    found = verify_chain([twin, PLANT.der], [ROOT.certificate], NOW)
    known = verified(DEVICE, PLANT)
    assert found.fingerprint != known.fingerprint
    assert found.signed_digest == known.signed_digest
    assert verified(PLANT.device(), PLANT).signed_digest != known.signed_digest


def test_what_is_no_pem_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="PEM"):
        read_authorities("none")
    assert base64.b64encode(ROOT.der).decode()[:20] in ROOT.pem.replace("\n", "")
