"""The form that device leaves are filled into gives the bytes that pyca's builder gives."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings, strategies as some

from keyborn.adapters.ca.certificates import Contents, Signer, Stamp, self_signed
from keyborn.adapters.ca.der import SEQUENCE, content, der, integer, key_bits, moment
from keyborn.adapters.ca.leaf import DeviceContents, DeviceForm
from keyborn.domain.profile import DEVICE, ROOT, Validity
from support.csr_make import DeviceKey, shared_key

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_-"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def make_signer() -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    contents = Contents("Keyborn Devices 00c0ffee", key.public_key(), 7, ROOT.validity(NOW))
    return Signer(self_signed(ROOT, contents, key), key)


SIGNER = make_signer()
FORM, STAMP = DeviceForm(SIGNER), Stamp(DEVICE, SIGNER)


def spki(key: DeviceKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def both(key: DeviceKey, name: str, serial: int, validity: Validity) -> tuple[bytes, bytes]:
    """What is signed, by the form and by the builder."""
    built = STAMP.certificate(Contents(name, key.public_key(), serial, validity))
    filled = FORM.to_be_signed(DeviceContents(name, spki(key), serial, validity))
    return filled, built.tbs_certificate_bytes


moments = some.datetimes(datetime(1970, 1, 1), datetime(2400, 1, 1)).map(  # noqa: DTZ001 (made aware below)
    lambda naive: naive.replace(tzinfo=UTC, microsecond=0)
)


@settings(max_examples=150, deadline=None)
@given(
    key_type=some.sampled_from(["p256", "p384", "p521", "rsa2048", "rsa3072"]),
    name=some.text(LETTERS, min_size=1, max_size=64),
    serial=some.integers(1, (1 << 159) - 1),
    begins=moments,
    lasts=some.timedeltas(timedelta(seconds=1), timedelta(days=3650)),
)
def test_the_form_signs_what_the_builder_signs(
    key_type: str, name: str, serial: int, begins: datetime, lasts: timedelta
) -> None:
    validity = Validity(begins, (begins + lasts).replace(microsecond=0))
    filled, built = both(shared_key(key_type), name, serial, validity)
    assert filled == built


@pytest.mark.parametrize("ends", [datetime(2049, 12, 31, 23, 59, 59), datetime(2050, 1, 1)])  # noqa: DTZ001 (below)
def test_the_form_changes_its_dates_where_x509_does(ends: datetime) -> None:
    filled, built = both(shared_key(), "pump-7", 7, Validity(NOW, ends.replace(tzinfo=UTC)))
    assert filled == built


def test_the_signature_is_the_signers() -> None:
    contents = DeviceContents("pump-7", spki(shared_key()), 7, DEVICE.validity(NOW))
    leaf = x509.load_der_x509_certificate(FORM.sign(contents))
    SIGNER.key.public_key().verify(leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(SHA256()))
    leaf.verify_directly_issued_by(SIGNER.certificate)


@pytest.mark.parametrize("wrong", [b"\x04\x01\x00", b"\x30\x02\x05\x00", b"\x30\x03\x30\x00\x04"])
def test_what_is_not_a_public_key_is_refused(wrong: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        FORM.to_be_signed(DeviceContents("pump-7", wrong, 7, DEVICE.validity(NOW)))


# ── the pieces ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "020100"), (1, "020101"), (127, "02017f"), (128, "02020080"), (255, "020200ff"), (256, "02020100")],
)
def test_integers_keep_their_sign_bit_clear(number: int, encoded: str) -> None:
    assert integer(number).hex() == encoded


@given(some.binary(max_size=70_000))
@settings(max_examples=50, deadline=None)
def test_a_value_is_read_back_from_its_length(data: bytes) -> None:
    begin, end = content(der(SEQUENCE, data), SEQUENCE)
    assert der(SEQUENCE, data)[begin:end] == data


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_lengths_take_the_fewest_bytes(size: int) -> None:
    encoded = der(SEQUENCE, bytes(size))
    assert len(encoded) - size == 2 + (size > 127) + (size > 255) + (size > 65535)


def test_dates_have_two_digits_of_year_until_2050() -> None:
    assert moment(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)) == b"\x17\x0d491231235959Z"
    assert moment(datetime(2050, 1, 1, tzinfo=UTC)) == b"\x18\x0f20500101000000Z"


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "rsa2048"])
def test_the_bits_of_a_key_give_the_identifier_that_pyca_computes(key_type: str) -> None:
    key = shared_key(key_type)
    expected = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
    assert hashlib.sha1(key_bits(spki(key)), usedforsecurity=False).digest() == expected
