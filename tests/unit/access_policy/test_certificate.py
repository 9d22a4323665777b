"""Values of a certificate, by the names of their variables."""

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, strategies as st

from keyborn.domain.access_policy.certificate import NAMES, certificate_values, is_known
from keyborn.domain.access_policy.variables import Scope, Unresolved
from support.policy_stage import NOW, badge, connected

KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = [(NameOID.COUNTRY_NAME, "NL"), (NameOID.COMMON_NAME, "Root & Söhne")]
SUBJECT = [
    (NameOID.COUNTRY_NAME, "DE"),
    (NameOID.ORGANIZATION_NAME, "Example Corp"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "one"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "two"),
    (NameOID.STATE_OR_PROVINCE_NAME, "Bremen"),
    (NameOID.COMMON_NAME, "lamp"),
    (NameOID.SERIAL_NUMBER, "SN-7"),
    (NameOID.TITLE, "light"),
    (NameOID.SURNAME, "Lux"),
    (NameOID.GIVEN_NAME, "Lu"),
    (NameOID.INITIALS, "LL"),
    (NameOID.PSEUDONYM, "bulb"),
    (NameOID.GENERATION_QUALIFIER, "2"),
    (NameOID.DN_QUALIFIER, "q1"),
]
ALTERNATIVES: list[x509.GeneralName] = [
    x509.DNSName("a.example"),
    x509.DNSName("b.example"),
    x509.RFC822Name("a@example.com"),
    x509.UniformResourceIdentifier("https://a.example/x"),
    x509.IPAddress(IPv4Address("192.0.2.7")),
    x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dir")])),
]


def name(parts: Sequence[tuple[x509.ObjectIdentifier, str]]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def certificate(
    subject: Sequence[tuple[x509.ObjectIdentifier, str]] = SUBJECT,
    alternatives: Sequence[x509.GeneralName] = (),
    serial: int = 0x928512,
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(ISSUER))
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        builder = builder.add_extension(x509.IssuerAlternativeName(alternatives[1:]), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


WHOLE = certificate(alternatives=ALTERNATIVES)


@pytest.mark.parametrize(
    ("variable", "values"),
    [
        ("SerialNumber", [str(0x928512)]),
        ("Subject.Country", ["DE"]),
        ("Subject.Organization", ["Example Corp"]),
        ("Subject.OrganizationalUnit", ["one"]),
        ("Subject.OrganizationalUnit.0", ["one"]),
        ("Subject.OrganizationalUnit.1", ["two"]),
        ("Subject.OrganizationalUnit.2", []),
        ("Subject.OrganizationalUnit.List", ["one", "two"]),
        ("Subject.State", ["Bremen"]),
        ("Subject.CommonName", ["lamp"]),
        ("Subject.SerialNumber", ["SN-7"]),
        ("Subject.Title", ["light"]),
        ("Subject.Surname", ["Lux"]),
        ("Subject.GivenName", ["Lu"]),
        ("Subject.Initials", ["LL"]),
        ("Subject.Pseudonym", ["bulb"]),
        ("Subject.GenerationQualifier", ["2"]),
        ("Subject.DistinguishedNameQualifier", ["q1"]),
        ("Issuer.Country", ["NL"]),
        ("Issuer.CommonName", ["Root & Söhne"]),
        ("Issuer.Organization", []),
        ("Issuer.Organization.List", []),
        ("Subject.AlternativeName.DNSName", ["a.example"]),
        ("Subject.AlternativeName.DNSName.1", ["b.example"]),
        ("Subject.AlternativeName.DNSName.List", ["a.example", "b.example"]),
        ("Subject.AlternativeName.RFC822Name", ["a@example.com"]),
        ("Subject.AlternativeName.UniformResourceIdentifier", ["https://a.example/x"]),
        ("Subject.AlternativeName.IPAddress", ["192.0.2.7"]),
        ("Subject.AlternativeName.DirectoryName", ["cn=dir"]),
        ("Issuer.AlternativeName.DNSName", ["b.example"]),
    ],
)
def test_each_variable_has_its_values(variable: str, values: list[str]) -> None:
    full = f"iot:Certificate.{variable}"
    assert is_known(full)
    assert list(certificate_values(WHOLE, full)) == values


def test_five_values_of_a_list_count() -> None:
    der = certificate([(NameOID.ORGANIZATIONAL_UNIT_NAME, f"u{number}") for number in range(7)])
    values = certificate_values(der, "iot:Certificate.Subject.OrganizationalUnit.List")
    assert values == ("u0", "u1", "u2", "u3", "u4")
    assert certificate_values(der, "iot:Certificate.Subject.OrganizationalUnit.4") == ("u4",)


def test_without_alternative_names_there_are_none() -> None:
    assert certificate_values(certificate(), "iot:Certificate.Subject.AlternativeName.DNSName") == ()


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x80" * 50, WHOLE[:-1], WHOLE + b"\0"])
def test_what_is_no_certificate_has_no_values(der: bytes) -> None:
    assert not any(certificate_values(der, variable) for variable in NAMES)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_damaged_certificate_raises_nothing(position: int, change: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[position] ^= change
    for variable in ("SerialNumber", "Subject.CommonName", "Subject.AlternativeName.IPAddress.List"):
        assert isinstance(certificate_values(bytes(damaged), f"iot:Certificate.{variable}"), tuple)


def test_one_part_that_cannot_be_read_does_not_hide_the_others() -> None:
    broken = WHOLE.replace(b"a@example.com", b"a@\xff\xfeample.com")
    assert broken != WHOLE
    assert certificate_values(broken, "iot:Certificate.Subject.CommonName") == ("lamp",)
    assert certificate_values(broken, "iot:Certificate.Subject.AlternativeName.RFC822Name") == ()


def test_a_value_is_substituted_by_the_rules_of_all_variables() -> None:
    plain = Scope(badge(der=certificate([(NameOID.COMMON_NAME, "lamp")])), connected())
    assert plain.resolve("iot:Certificate.Subject.CommonName") == "lamp"
    special = Scope(badge(der=certificate([(NameOID.COMMON_NAME, "lamp*")])), connected())
    assert special.resolve("iot:Certificate.Subject.CommonName") == Unresolved("its value holds *")
    assert special.look_up("iot:Certificate.Subject.CommonName") == ("lamp*",)


def test_the_certificate_speaks_under_any_client_id() -> None:
    scope = Scope(badge(der=WHOLE), connected("somebody else"))
    assert scope.resolve("iot:Certificate.Subject.CommonName") == "lamp"
