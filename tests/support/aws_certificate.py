"""Certificates of exactly the shape that AWS IoT Core signs, and the same with one thing changed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from support.csr_make import DeviceKey
from support.device_pki import Wanted, key_usage

BACK = timedelta(minutes=2)
END = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The last moment that a UTCTime can say (RFC 5280 4.1.2.5.1)."""
ISSUER = "Amazon Web Services O=Amazon.com Inc. L=Seattle ST=Washington C=US"


@dataclass(frozen=True)
class Shape:
    """What may differ from the real thing; the defaults are the real thing."""

    name: str = "gateway-1"
    more: tuple[tuple[x509.ObjectIdentifier, str], ...] = ()
    """Attributes of the CSR's subject beside the common name: AWS copies them."""
    start: datetime | None = None
    end: datetime = END
    authority: bool = False
    signs: bool = True
    usages: tuple[x509.ObjectIdentifier, ...] = ()


@cache
def authority_key() -> rsa.RSAPrivateKey:
    """The key that nobody publishes a certificate for."""
    return rsa.generate_private_key(65537, 2048)


def aws_certificate(key: DeviceKey, shape: Shape | None = None) -> x509.Certificate:
    """A certificate for ``key`` as ``CreateCertificateFromCsr`` answers it."""
    return certify_as_aws(key.public_key(), shape)


def certify_as_aws(public_key: object, shape: Shape | None = None) -> x509.Certificate:
    """The same for a public key."""
    shape = shape or Shape()
    ours = authority_key()
    subject = [x509.NameAttribute(kind, text) for kind, text in shape.more]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, shape.name))
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ours.public_key())
    builder = (
        x509.CertificateBuilder()
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ISSUER)]))
        .subject_name(x509.Name(subject))
        .public_key(public_key)  # type: ignore[arg-type] # whatever kind the device made
        .serial_number(x509.random_serial_number())
        .not_valid_before(shape.start or datetime.now(UTC) - BACK)
        .not_valid_after(shape.end)
        .add_extension(key_id, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)  # type: ignore[arg-type] # as above
        .add_extension(x509.BasicConstraints(ca=shape.authority, path_length=None), critical=True)
        .add_extension(key_usage(Wanted(signs=shape.signs)), critical=True)
    )
    if shape.usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(shape.usages), critical=False)
    return builder.sign(ours, hashes.SHA256())
