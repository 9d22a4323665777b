"""Certificates for a device's key, good and bad in one chosen way."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding as Form, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support.csr_make import DeviceKey
from support.pki import Authority

DAY = timedelta(days=1)
UNKNOWN_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")


@dataclass(frozen=True)
class Wanted:
    """What a certificate should be like; the defaults make a good device's leaf."""

    name: str = "gateway-1"
    start: datetime | None = None
    end: datetime | None = None
    authority: bool = False
    path_length: int | None = None
    usages: tuple[x509.ObjectIdentifier, ...] | None = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    signs: bool = True
    signs_certificates: bool = False
    basic: bool = True
    strange: bool = False
    second_name: str | None = None


def certify(
    issuer: Authority, public_key: ec.EllipticCurvePublicKey | object, wanted: Wanted | None = None
) -> x509.Certificate:
    """Sign a certificate for a public key."""
    wanted = wanted or Wanted()
    now = datetime.now(UTC)
    names = [wanted.name] if wanted.second_name is None else [wanted.name, wanted.second_name]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]))
        .issuer_name(issuer.certificate.subject)
        .public_key(public_key)  # type: ignore[arg-type] # whatever kind the device made
        .serial_number(x509.random_serial_number())
        .not_valid_before(wanted.start or now - timedelta(minutes=5))
        .not_valid_after(wanted.end or now + 90 * DAY)
        .add_extension(key_usage(wanted), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
        )
    )
    if wanted.basic:
        basic = x509.BasicConstraints(ca=wanted.authority, path_length=wanted.path_length)
        builder = builder.add_extension(basic, critical=True)
    if wanted.usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted.usages), critical=False)
    if wanted.strange:
        strange = x509.UnrecognizedExtension(UNKNOWN_EXTENSION, b"\x05\x00")
        builder = builder.add_extension(strange, critical=True)
    return builder.sign(issuer.key, hashes.SHA256())


def key_usage(wanted: Wanted) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=wanted.signs,
        content_commitment=False,
        key_encipherment=not wanted.signs,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=wanted.signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def subordinate(issuer: Authority, wanted: Wanted) -> Authority:
    """An intermediate, as wanted."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(certify(issuer, key.public_key(), wanted), key)


def public_der(key: DeviceKey) -> bytes:
    return key.public_key().public_bytes(Form.DER, PublicFormat.SubjectPublicKeyInfo)
