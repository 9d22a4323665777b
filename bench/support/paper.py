"""What cfssl needs beside its program: an authority, a server certificate, a profile, a database."""

import contextlib
import json
import sqlite3
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PROFILE = {"signing": {"default": {"expiry": "2160h", "usages": ["digital signature", "client auth"]}}}
"""90 days, clientAuth: what Keyborn's device profile gives."""

# The columns that `cfssl serve -db-config` of Debian's 1.2.0 writes and reads.
_SCHEMA = """
CREATE TABLE certificates (
    serial_number BLOB NOT NULL, authority_key_identifier BLOB NOT NULL, ca_label BLOB, status BLOB NOT NULL,
    reason INTEGER, expiry TIMESTAMP, revoked_at TIMESTAMP, pem BLOB NOT NULL,
    PRIMARY KEY (serial_number, authority_key_identifier)
);
CREATE TABLE ocsp_responses (
    serial_number BLOB NOT NULL, authority_key_identifier BLOB NOT NULL, body BLOB NOT NULL, expiry TIMESTAMP,
    PRIMARY KEY (serial_number, authority_key_identifier)
);
"""


def write_authority(folder: Path) -> None:
    """A P-256 authority, a P-256 server certificate from it, and the signing profile."""
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _builder("bench CA", "bench CA", ca_key)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    certificate = ca.add_extension(identifier, critical=False).sign(ca_key, SHA256())
    server = _builder("bench CA", "localhost", server_key).add_extension(
        x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]),
        critical=False,
    )
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    leaf = server.add_extension(purpose, critical=False).sign(ca_key, SHA256())
    (folder / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "ca.key").write_bytes(_private(ca_key))
    (folder / "server.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(_private(server_key))
    (folder / "config.json").write_text(json.dumps(PROFILE))


def trusting(folder: Path) -> ssl.SSLContext:
    """A client's context that trusts that authority."""
    return ssl.create_default_context(cafile=str(folder / "ca.pem"))


def write_certificate_database(path: Path, journal: str) -> None:
    """An empty database; of the journal modes ``wal`` stays with the file, ``delete`` is the default."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA journal_mode = {journal}")


def _builder(issuer: str, subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer_name=_name(issuer),
        subject_name=_name(subject),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + timedelta(days=3650),
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
