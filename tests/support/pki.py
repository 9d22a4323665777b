"""A small certificate authority for tests: one root, an intermediate for devices, another for servers."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
DISTANT = "far.keyborn.invalid"
"""A name that nobody resolves here: only a proxy of ours knows the way."""


def pem(*certificates: x509.Certificate) -> str:
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)


@dataclass(frozen=True)
class Leaf:
    """A certificate, what lies between it and the root, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    between: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write chain and key; returns both paths."""
        chain, key = folder / f"{name}.crt", folder / f"{name}.key"
        chain.write_text(pem(self.certificate, *self.between))
        key.write_bytes(self.key_pem())
        return chain, key


@dataclass(frozen=True)
class Authority:
    """A CA certificate that signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def sub(self, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _base(name, key, self, datetime.now(UTC) - DAY, datetime.now(UTC) + 365 * DAY)
        return Authority(_as_ca(builder, 0).sign(self.key, hashes.SHA256()), key)

    def leaf(
        self,
        name: str,
        *,
        usage: x509.ObjectIdentifier = CLIENT,
        start: datetime | None = None,
        end: datetime | None = None,
        between: bool = False,
    ) -> Leaf:
        """A leaf for ``name``; one for servers is good for localhost, 127.0.0.1 and ``DISTANT``."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = _base(name, key, self, start or now - DAY, end or now + 90 * DAY)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        ).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if usage == SERVER:
            names = [
                x509.DNSName("localhost"),
                x509.IPAddress(IPv4Address("127.0.0.1")),
                x509.DNSName(DISTANT),
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return Leaf(certificate, key, (self.certificate,) if between else ())


@dataclass(frozen=True)
class Pki:
    """Root, and the two intermediates that keep devices and servers apart."""

    root: Authority
    devices: Authority
    servers: Authority

    @property
    def client_ca_pem(self) -> str:
        """What the broker trusts: root and device intermediate."""
        return pem(self.root.certificate, self.devices.certificate)

    @property
    def root_pem(self) -> str:
        return pem(self.root.certificate)


def new_pki() -> Pki:
    """A world of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = _base("test root", key, None, now - DAY, now + 3650 * DAY)
    root = Authority(_as_ca(builder, None).sign(key, hashes.SHA256()), key)
    return Pki(root, root.sub("test devices"), root.sub("test servers"))


@cache
def shared_pki() -> Pki:
    """One world per process, where nothing about the CA itself is tested."""
    return new_pki()


def _base(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: Authority | None,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key if issuer is None else issuer.key
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )


def _as_ca(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=path_length), critical=True
    ).add_extension(usage, critical=True)
