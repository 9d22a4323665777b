"""What the clients send, made before the clock starts: keys, certificate requests, whole HTTP requests."""

import hashlib
import json
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Device:
    """One thing that wants to enroll: a name and a P-256 key of its own."""

    name: str
    csr: str = field(repr=False)
    key_hash: bytes
    """SHA-256 of the DER SubjectPublicKeyInfo: what an answer's certificate must hold."""


@dataclass(frozen=True, slots=True)
class Door:
    """How one system wants to be asked."""

    path: str
    name_member: str | None
    """The JSON member that carries the thing name, where there is one."""
    csr_member: str
    certificate_path: tuple[str, ...]
    """Where in the answer's JSON the PEM certificate is."""
    bearer: str | None = field(default=None, repr=False)

    def request(self, device: Device, *, close: bool) -> bytes:
        """One whole HTTP/1.1 request."""
        body: dict[str, str] = {self.csr_member: device.csr}
        if self.name_member is not None:
            body[self.name_member] = device.name
        payload = json.dumps(body).encode()
        lines = [f"POST {self.path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        lines += [f"Authorization: Bearer {self.bearer}"] if self.bearer else []
        lines += ["Connection: close"] if close else []
        head = "\r\n".join([*lines, f"Content-Length: {len(payload)}", "", ""])
        return head.encode() + payload

    def certificate(self, body: bytes) -> x509.Certificate:
        """The certificate in an answer; raises ValueError, KeyError or TypeError where there is none."""
        found = json.loads(body)
        for member in self.certificate_path:
            found = found[member]
        return x509.load_pem_x509_certificate(found.encode())


def make_device(number: int) -> Device:
    """A fresh key and its request (about 0.2 ms)."""
    name = f"bench-{number:07d}"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return Device(name, csr.public_bytes(Encoding.PEM).decode(), key_hash(key.public_key()))


def key_hash(key: object) -> bytes:
    """The hash that names a public key."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("not an elliptic key")
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
