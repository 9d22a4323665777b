"""A certificate that says much of its owner: every kind of value that a policy variable can take from one."""

from datetime import UTC, datetime
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.pki import CLIENT, DAY, Leaf, shared_pki

RICH = "rich"
"""Its common name."""
SERIAL = 10525622389124227206
"""Its serial number: in hexadecimal 92:12:85:cb:b7:a5:e0:86, the Developer Guide's own example."""


def _name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def rich_leaf() -> Leaf:
    """Make it."""
    authority, key = shared_pki().devices, ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(_SUBJECT)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(SERIAL)
        .not_valid_before(datetime.now(UTC) - DAY)
        .not_valid_after(datetime.now(UTC) + 90 * DAY)
        .add_extension(x509.SubjectAlternativeName(_ALTERNATIVES), critical=False)
        .add_extension(x509.ExtendedKeyUsage([CLIENT]), critical=False)
        .add_extension(_key_of(authority.key), critical=False)
    )
    return Leaf(builder.sign(authority.key, hashes.SHA256()), key)


def _key_of(issuer: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())


_SUBJECT = _name(
    (NameOID.COUNTRY_NAME, "DE"),
    (NameOID.ORGANIZATION_NAME, "Example Corp"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "lamps"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "bulbs"),
    (NameOID.STATE_OR_PROVINCE_NAME, "Bremen"),
    (NameOID.COMMON_NAME, RICH),
    (NameOID.SERIAL_NUMBER, "SN-7"),
)
_ALTERNATIVES = (
    x509.DNSName("a.example"),
    x509.DNSName("b.example"),
    x509.IPAddress(IPv4Address("192.0.2.7")),
    x509.UniformResourceIdentifier("urn:lamp:7"),
    x509.RFC822Name("lamp@example.com"),
    x509.DirectoryName(
        _name(
            (NameOID.COUNTRY_NAME, "DE"),
            (NameOID.ORGANIZATION_NAME, "Example Corp"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "lamps"),
            (NameOID.COMMON_NAME, "dir"),
        )
    ),
)

SAYS = {
    "Certificate.SerialNumber": [str(SERIAL)],
    "Certificate.Subject.Country": ["DE"],
    "Certificate.Subject.State": ["Bremen"],
    "Certificate.Subject.Organization": ["Example Corp"],
    "Certificate.Subject.OrganizationalUnit": ["lamps"],
    "Certificate.Subject.OrganizationalUnit.1": ["bulbs"],
    "Certificate.Subject.OrganizationalUnit.List": ["lamps", "bulbs"],
    "Certificate.Subject.SerialNumber": ["SN-7"],
    "Certificate.Subject.AlternativeName.DNSName": ["a.example"],
    "Certificate.Subject.AlternativeName.IPAddress": ["192.0.2.7"],
    "Certificate.Subject.AlternativeName.UniformResourceIdentifier": ["urn:lamp:7"],
    "Certificate.Subject.AlternativeName.RFC822Name": ["lamp@example.com"],
    "Certificate.Subject.AlternativeName.DirectoryName": ["cn=dir,ou=lamps,o=Example Corp,c=DE"],
}
"""What its policy variables must be, by the Developer Guide's page on them."""
