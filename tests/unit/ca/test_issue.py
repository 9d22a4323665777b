"""What the embedded authority signs: the leaf is what the profile says, whatever the request held."""

import asyncio
import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from keyborn.adapters.ca import EmbeddedAuthority
from keyborn.adapters.ca.check import IssuedDiffersError, check_issued
from keyborn.domain.errors import CaDates
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.names import KeyHash, ThingName, key_hash
from keyborn.domain.profile import DEVICE_INTERMEDIATE, CertificateProfile
from keyborn.ports import CertificateAuthority
from support.ca_world import HandClock, approved_for, intent_for, issue, make_authority
from support.csr_make import shared_key

KEY_TYPES = ("p256", "p384", "p521", "rsa2048")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedAuthority:
    return make_authority(tmp_path_factory.mktemp("data"))


def test_the_embedded_authority_is_a_certificate_authority(authority: EmbeddedAuthority) -> None:
    port: CertificateAuthority = authority
    assert port.chain_pem().count("BEGIN CERTIFICATE") == port.roots_pem().count("BEGIN CERTIFICATE") == 1


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_serial_dates_name_and_key_come_from_the_intent(authority: EmbeddedAuthority, key_type: str) -> None:
    key = shared_key(key_type)
    approved = approved_for("pump-7", key)
    leaf = issue(authority, approved)
    assert leaf.serial_number == approved.intent.serial
    assert leaf.not_valid_before_utc == approved.intent.not_before
    assert leaf.not_valid_after_utc == approved.intent.not_after
    assert [(name.oid, name.value) for name in leaf.subject] == [(NameOID.COMMON_NAME, "pump-7")]
    assert leaf.public_key() == key.public_key()


def test_a_leaf_has_five_extensions_and_no_more(authority: EmbeddedAuthority) -> None:
    leaf = issue(authority, approved_for("pump-7"))
    held = {type(each.value): each for each in leaf.extensions}
    assert set(held) == {
        x509.BasicConstraints,
        x509.KeyUsage,
        x509.ExtendedKeyUsage,
        x509.SubjectKeyIdentifier,
        x509.AuthorityKeyIdentifier,
    }
    assert held[x509.BasicConstraints].value == x509.BasicConstraints(ca=False, path_length=None)
    assert list(cast("x509.ExtendedKeyUsage", held[x509.ExtendedKeyUsage].value)) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert held[x509.KeyUsage].critical
    assert held[x509.BasicConstraints].critical


def test_a_leaf_may_sign_and_do_nothing_else(authority: EmbeddedAuthority) -> None:
    usage = issue(authority, approved_for("pump-7")).extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    assert not any(getattr(usage, use) for use in (*others, "key_cert_sign", "crl_sign"))


def test_key_identifiers_tie_a_leaf_to_its_intermediate(authority: EmbeddedAuthority) -> None:
    leaf = issue(authority, approved_for("pump-7"))
    intermediate = x509.load_pem_x509_certificate(authority.chain_pem().encode())
    above = intermediate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    named = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert named.key_identifier == above.key_identifier
    assert named.authority_cert_issuer is None
    leaf.verify_directly_issued_by(intermediate)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_every_signature_is_ecdsa_with_sha256(authority: EmbeddedAuthority, key_type: str) -> None:
    leaf = issue(authority, approved_for("pump-7", shared_key(key_type)))
    assert leaf.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA256


def test_the_request_itself_never_reaches_the_certificate(authority: EmbeddedAuthority) -> None:
    plain = approved_for("pump-7")
    greedy = replace(plain, csr_pem="-----BEGIN CERTIFICATE REQUEST-----\nadmin, CA:TRUE\n")
    assert issue(authority, plain).tbs_certificate_bytes == issue(authority, greedy).tbs_certificate_bytes


def test_the_root_fingerprint_is_the_hash_of_the_roots_der(authority: EmbeddedAuthority) -> None:
    root = x509.load_pem_x509_certificate(authority.roots_pem().encode())
    der = root.public_bytes(Encoding.DER)
    assert authority.root_fingerprint() == hashlib.sha256(der).digest() == root.fingerprint(SHA256())


def test_servers_trust_root_and_device_intermediate_but_not_the_server_intermediate(
    authority: EmbeddedAuthority,
) -> None:
    assert authority.client_ca_pem() == authority.roots_pem() + authority.chain_pem()
    assert authority.server_chain_pem() not in authority.client_ca_pem()


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class LooksApproved:
    """Everything an approved request has, except the approval."""

    intent: object
    public_key_der: bytes
    csr_pem: str


def test_nothing_but_an_approved_request_is_signed(authority: EmbeddedAuthority) -> None:
    real = approved_for("pump-7")
    double = LooksApproved(real.intent, real.public_key_der, real.csr_pem)
    for impostor in (double, real.intent, real.csr_pem, None):
        with pytest.raises(TypeError, match="ApprovedRequest and nothing else"):
            asyncio.run(authority.issue(cast("ApprovedRequest", impostor)))


def test_an_approved_request_cannot_be_made_without_approval() -> None:
    intent = intent_for(shared_key(), "pump-7")
    with pytest.raises(TypeError, match="approve"):
        ApprovedRequest(intent, b"", "", object())


def test_a_key_that_is_not_the_intents_is_not_signed(authority: EmbeddedAuthority) -> None:
    other = shared_key("p384").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    swapped = replace(approved_for("pump-7"), public_key_der=other)
    with pytest.raises(ValueError, match="not the intent's"):
        issue(authority, swapped)


def test_a_key_of_another_kind_is_not_signed(authority: EmbeddedAuthority) -> None:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    real = approved_for("pump-7")
    swapped = replace(real, public_key_der=der, intent=replace(real.intent, key_hash=key_hash(der)))
    with pytest.raises(IssuedDiffersError, match="key type"):
        issue(authority, swapped)


@pytest.mark.parametrize("serial", [0, -1, 1 << 159, 1 << 200])
def test_a_serial_that_is_not_positive_and_twenty_octets_is_refused(
    authority: EmbeddedAuthority, serial: int
) -> None:
    real = approved_for("pump-7")
    with pytest.raises(ValueError, match="serial"):
        issue(authority, replace(real, intent=replace(real.intent, serial=serial)))


@pytest.mark.parametrize("serial", [1, 127, 128, (1 << 159) - 1])
def test_every_other_serial_is_encoded_as_it_is(authority: EmbeddedAuthority, serial: int) -> None:
    assert issue(authority, approved_for("pump-7", serial=serial)).serial_number == serial


def test_no_certificate_outlives_its_intermediate_by_a_second(tmp_path: Path) -> None:
    clock = HandClock()
    authority = make_authority(tmp_path, clock)
    last = clock.now() + DEVICE_INTERMEDIATE.lifetime
    real = approved_for("pump-7")
    fits = replace(real, intent=replace(real.intent, not_after=last))
    assert issue(authority, fits).not_valid_after_utc == last
    longer = replace(real, intent=replace(real.intent, not_after=last + timedelta(seconds=1)))
    with pytest.raises(CaDates) as refused:
        issue(authority, longer)
    assert refused.value.code == "ca_dates"
    assert refused.value.retry_after is not None
    assert str(last.year) in str(refused.value)


def test_no_certificate_begins_before_its_intermediate(authority: EmbeddedAuthority) -> None:
    early = HandClock().now() - timedelta(days=2)
    with pytest.raises(CaDates):
        issue(authority, approved_for("pump-7", now=early))


# ── signed against meant ──────────────────────────────────────────────────────────────────────────────


def altered(approved: ApprovedRequest) -> dict[str, ApprovedRequest]:
    """The same approval with one thing changed, by what the comparison should name."""
    intent = approved.intent
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    der = other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    second = timedelta(seconds=1)
    return {
        "serial number": replace(approved, intent=replace(intent, serial=intent.serial + 1)),
        "dates": replace(approved, intent=replace(intent, not_after=intent.not_after + second)),
        "subject": replace(approved, intent=replace(intent, thing=ThingName("pump-8"))),
        "public key": replace(approved, public_key_der=der),
    }


def test_a_certificate_that_differs_from_its_intent_does_not_leave(authority: EmbeddedAuthority) -> None:
    approved = approved_for("pump-7")
    der = issue(authority, approved).public_bytes(Encoding.DER)
    check_issued(der, approved)
    for what, other in altered(approved).items():
        with pytest.raises(IssuedDiffersError, match=rf"differs in: \['{what}'\]"):
            check_issued(der, other)


def test_a_recorded_key_hash_that_does_not_fit_the_key_is_noticed(authority: EmbeddedAuthority) -> None:
    approved = approved_for("pump-7")
    der = issue(authority, approved).public_bytes(Encoding.DER)
    lied = replace(approved, intent=replace(approved.intent, key_hash=KeyHash("0" * 64)))
    with pytest.raises(IssuedDiffersError, match="public key"):
        check_issued(der, lied)


def forged(extension: x509.ExtensionType | None, *, omit: bool = False) -> tuple[bytes, ApprovedRequest]:
    """A certificate that fits its intent but not the device profile, from a signer gone wrong."""
    signer = ec.generate_private_key(ec.SECP256R1())
    approved = approved_for("pump-7")
    intent, subject = approved.intent, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pump-7")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(shared_key().public_key())
        .serial_number(intent.serial)
        .not_valid_before(intent.not_before)
        .not_valid_after(intent.not_after)
    )
    if not omit:
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, SHA256()).public_bytes(Encoding.DER), approved


@pytest.mark.parametrize(
    "extension",
    [
        x509.SubjectAlternativeName([x509.DNSName("service.example")]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        None,
    ],
)
def test_a_certificate_outside_the_device_profile_is_noticed(extension: x509.ExtensionType | None) -> None:
    with pytest.raises(IssuedDiffersError, match="extensions"):
        check_issued(*forged(extension))


def test_a_certificate_that_may_sign_others_is_noticed() -> None:
    with pytest.raises(IssuedDiffersError, match="extensions"):
        check_issued(*forged(x509.BasicConstraints(ca=True, path_length=None), omit=True))


def test_the_configured_lifetime_is_the_certificates(authority: EmbeddedAuthority) -> None:
    profile = CertificateProfile(lifetime=timedelta(hours=6))
    intent = intent_for(shared_key(), "pump-7", profile=profile)
    real = approved_for("pump-7")
    leaf = issue(authority, replace(real, intent=intent))
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(hours=6, minutes=5)
