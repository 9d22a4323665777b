"""What is accepted, in which form, and what the value then says."""

import hashlib
from dataclasses import FrozenInstanceError

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.domain.csr import MAX_CSR, parse_csr
from keyborn.domain.csr_pem import der_from_pem, pem_from_der
from keyborn.domain.errors import CsrBadSignature, CsrMalformed, CsrTooLarge
from support.csr_build import (
    CN,
    ECDSA_SHA256,
    OU,
    RSA_SHA256,
    ST,
    C,
    L,
    O,
    asking,
    bits,
    extension,
    info_der,
    integer,
    octets,
    oid,
    part,
    pem,
    printable,
    request_der,
    seq,
    signer,
    spki_of,
    tlv,
    utf8,
    with_attributes,
    with_extensions,
    with_key,
    with_name,
)
from support.csr_make import csr_for, make_csr, shared_key
from support.csr_weak import FAR

KINDS = ("p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096")


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_type_of_the_design_is_accepted(kind: str) -> None:
    key = shared_key(kind)
    request = parse_csr(csr_for(key, "sensor-1"))
    assert request.key_type == kind
    assert request.common_name == "sensor-1"
    assert request.public_key_der == spki_of(key)
    assert request.key_hash == hashlib.sha256(spki_of(key)).hexdigest()
    assert request.own_names == frozenset()


@pytest.mark.parametrize("kind", ["p256", "p521", "rsa2048"])
@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_sha256_and_better_is_accepted(kind: str, digest: hashes.SHA256) -> None:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sensor-1")])
    request = x509.CertificateSigningRequestBuilder(subject).sign(shared_key(kind), digest)
    assert parse_csr(request.public_bytes(Encoding.PEM).decode()).key_type == kind


def test_an_rsa_key_whose_primes_are_close_but_out_of_fermats_reach_is_accepted() -> None:
    assert parse_csr(with_key(FAR.spki, FAR)).key_type == "rsa2048"


def test_a_larger_exponent_is_accepted() -> None:
    owner = type(FAR)(FAR.p, FAR.q, (1 << 64) + 13)
    assert parse_csr(with_key(owner.spki, owner)).public_key_der == owner.spki


def test_parameters_of_the_signature_algorithm_may_be_null_or_absent() -> None:
    """RFC 4055 asks to accept RSA without its NULL, and mbed TLS 2.28 writes one for ECDSA."""
    rsa = shared_key("rsa2048")
    for key, sent, right in (
        (shared_key(), seq(oid("1.2.840.10045.4.3.2"), tlv(0x05)), ECDSA_SHA256),
        (rsa, seq(oid("1.2.840.113549.1.1.11")), RSA_SHA256),
    ):
        info = info_der(spki=spki_of(key))
        signature = bits(signer(key)(info))
        request = parse_csr(pem(seq(info, sent, signature)))
        assert request.public_key_der == spki_of(key)
        assert request.pem == pem(seq(info, right, signature))


# ── the text ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("label", ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("width", [1, 48, 64, 76, 4000])
def test_label_newline_and_width_do_not_matter_and_the_value_holds_one_form(
    label: str, newline: str, width: int
) -> None:
    der = request_der()
    request = parse_csr(pem(der, label=label, newline=newline, width=width))
    assert request.pem == x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n", "\n\r\n\n"])
def test_the_last_newline_may_be_missing_or_doubled(ending: str) -> None:
    assert parse_csr(pem(request_der()).rstrip("\n") + ending).common_name == "sensor-1"


@pytest.mark.parametrize("first", ["PKCS #10 Certificate Request Information:", "Certificate Request:"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_description_that_a_tool_writes_before_the_block_is_not_read(first: str, newline: str) -> None:
    text = newline.join([first, "\tSubject: CN=admin", "", pem(request_der(), newline=newline)])
    request = parse_csr(text)
    assert request.common_name == "sensor-1"
    assert "admin" not in request.pem


def test_4096_characters_pass_and_one_more_does_not() -> None:
    good = pem(request_der())
    assert parse_csr(good + "\n" * (MAX_CSR - len(good))).common_name == "sensor-1"
    with pytest.raises(CsrTooLarge, match="4097 characters"):
        parse_csr(good + "\n" * (MAX_CSR - len(good) + 1))


def test_a_request_that_only_fits_without_line_breaks_is_too_large() -> None:
    der = octets(bytes(2980))
    assert len(pem(der, width=5000)) < MAX_CSR
    with pytest.raises(CsrTooLarge):
        pem_from_der(der)


def test_the_text_of_a_value_parses_to_the_same_value() -> None:
    request = parse_csr(make_csr("sensor-1")[1])
    assert parse_csr(request.pem) == request
    assert pem_from_der(der_from_pem(request.pem)) == request.pem


def test_the_value_cannot_be_changed() -> None:
    request = parse_csr(make_csr("sensor-1")[1])
    with pytest.raises(FrozenInstanceError):
        request.common_name = "admin"  # type: ignore[misc]  # the point of the test


# ── the subject ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", ["a", "0", "_", "-", ":", "Sensor_01:a-b", "x" * 64, "AWS IoT Certificate", "two words"]
)
def test_a_common_name_that_could_be_a_thing_name_or_is_the_generic_one_is_accepted(name: str) -> None:
    request = parse_csr(with_name(part(CN, utf8(name))))
    assert request.common_name == name
    assert request.shown_name == repr(name)


def test_the_owners_place_may_stand_beside_the_name() -> None:
    request = parse_csr(
        with_name(
            part(C, printable("JP")),
            part(ST, utf8("Tokyo")),
            part(L, utf8("Meguro")),
            part(O, utf8("株式会社\u3000例")),
            part(OU, utf8("o" * 64)),
            part(CN, printable("sensor-1")),
        )
    )
    assert request.common_name == "sensor-1"


def test_the_limits_of_the_subject_are_counted_in_characters_not_bytes() -> None:
    assert parse_csr(with_name(part(O, utf8("例" * 64)), part(CN, utf8("sensor-1")))).key_type == "p256"


# ── harmless wishes ───────────────────────────────────────────────────────────────────────────────────

HARMLESS = {
    "CA:FALSE": extension("2.5.29.19", seq()),
    "CA:FALSE, critical": extension("2.5.29.19", seq(), critical=True),
    "digitalSignature": extension("2.5.29.15", bits(b"\x80", 7), critical=True),
    "nonRepudiation, digitalSignature, keyEncipherment": extension("2.5.29.15", bits(b"\xe0", 5)),
    "digitalSignature, keyAgreement": extension("2.5.29.15", bits(b"\x88", 3)),
    "clientAuth": extension("2.5.29.37", seq(oid("1.3.6.1.5.5.7.3.2"))),
    "a key identifier": extension("2.5.29.14", octets(bytes(20))),
}


@pytest.mark.parametrize("wish", HARMLESS)
def test_a_harmless_wish_is_accepted_and_ignored(wish: str) -> None:
    assert parse_csr(with_extensions(HARMLESS[wish])).own_names == frozenset()


def test_all_harmless_wishes_together_are_accepted() -> None:
    wanted = (HARMLESS[wish] for wish in ("CA:FALSE", "digitalSignature", "clientAuth", "a key identifier"))
    assert parse_csr(with_extensions(*wanted)).common_name == "sensor-1"


def test_alternative_names_are_handed_on_for_the_policy_to_compare() -> None:
    names = seq(tlv(0x82, b"sensor-1"), tlv(0x82, b"Sensor_1:x"), tlv(0x82, b"sensor-1"))
    assert parse_csr(with_extensions(extension("2.5.29.17", names))).own_names == {"sensor-1", "Sensor_1:x"}


def test_an_extension_request_may_be_the_only_attribute() -> None:
    assert parse_csr(with_attributes(asking(HARMLESS["CA:FALSE"]))).key_type == "p256"


# ── order and care ────────────────────────────────────────────────────────────────────────────────────


def test_the_signature_is_verified_last() -> None:
    everything_wrong = info_der(version=integer(1), name=seq(), attributes=tlv(0xA0, seq()))
    for info in (everything_wrong, info_der(name=seq()), info_der(attributes=tlv(0xA0, seq()))):
        with pytest.raises(Exception) as refusal:  # noqa: PT011 - which leaf does not matter, only which not
            parse_csr(pem(request_der(info, sign=lambda _: b"no signature")))
        assert not isinstance(refusal.value, CsrBadSignature)


def test_a_subclass_of_str_is_a_string() -> None:
    class Text(str):
        __slots__ = ()

    assert parse_csr(Text(pem(request_der()))).common_name == "sensor-1"


def test_a_fault_that_only_pyca_sees_is_ours_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(_: bytes) -> x509.CertificateSigningRequest:
        message = "from the depths"
        raise OverflowError(message)

    monkeypatch.setattr(x509, "load_der_x509_csr", explode)
    with pytest.raises(CsrMalformed, match="a second reader cannot read it") as refusal:
        parse_csr(pem(request_der()))
    assert "depths" not in str(refusal.value)


def test_two_readers_that_disagree_are_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    other = x509.load_pem_x509_csr(make_csr("sensor-1")[1].encode())
    monkeypatch.setattr(x509, "load_der_x509_csr", lambda _: other)
    with pytest.raises(CsrMalformed, match="two readers disagree"):
        parse_csr(pem(request_der()))


def test_an_rsa_request_built_by_hand_is_the_same_as_a_librarys() -> None:
    key = shared_key("rsa2048")
    built = request_der(info_der(spki=spki_of(key)), algorithm=RSA_SHA256, sign=signer(key))
    assert parse_csr(pem(built)) == parse_csr(csr_for(key, "sensor-1"))
