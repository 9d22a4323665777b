"""Private keys in memory: made, read, named, and used for a certificate request.

Only the file key store handles these values; nothing else of the device side ever sees one.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from keyborn.device.subject import Subject
from keyborn.domain.errors import KeyUnusable

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

KEY_TYPES = ("p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096")
DEFAULT_KEY_TYPE = "p256"
_RSA_BITS = range(2048, 4097)
_RSA_EXPONENT = 65537
_CURVES = {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521"}
_PEM_KEY = re.compile(
    rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----\r?\n.*?\r?\n-----END \1PRIVATE KEY-----", re.DOTALL
)

_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?\r?\n-----END \1-----", re.DOTALL)


def make_key(key_type: str) -> "PrivateKey":
    """Make a key of one of KEY_TYPES with the operating system's entropy; RSA 4096 takes seconds."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if key_type.startswith("rsa"):
        return rsa.generate_private_key(_RSA_EXPONENT, int(key_type.removeprefix("rsa")))
    curves: dict[str, ec.EllipticCurve] = {
        "p256": ec.SECP256R1(),
        "p384": ec.SECP384R1(),
        "p521": ec.SECP521R1(),
    }
    return ec.generate_private_key(curves[key_type])


def read_key(data: bytes, path: Path, *, checked: bool = False) -> "PrivateKey":
    """Read one unencrypted PEM key (PKCS#8, PKCS#1, SEC1); raises KeyUnusable, which never quotes it.

    ``checked``: it was looked at whole when it was stored. Whether an RSA key's numbers belong together is
    then not computed again: that takes 40 ms, and everybody who gets a signature verifies it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    block = _PEM_KEY.search(data)  # openssl ecparam puts the curve's parameters before the key
    if block is None:
        raise KeyUnusable(path=path, detail="it holds no PEM block of a private key")
    if b"ENCRYPTED" in block[0]:
        hint = "it has a passphrase. Write it without one: openssl pkey -in KEY -out NEW"
        raise KeyUnusable(path=path, detail=hint)
    try:
        key = load_pem_private_key(block[0] + b"\n", password=None, unsafe_skip_rsa_key_validation=checked)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyUnusable(path=path, detail="its PEM block does not hold a sound private key") from None
    return require_kind(key, path)


def require_kind(key: object, path: Path) -> "PrivateKey":
    """Return ``key`` if it is P-256, P-384, P-521 or RSA 2048 to 4096; raises KeyUnusable."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size in _RSA_BITS:
        return key
    detail = "only P-256, P-384, P-521 and RSA 2048 to 4096 are accepted"
    raise KeyUnusable(path=path, detail=detail)


def name_type(key: "PrivateKey") -> str:
    """``p256``, ``p384``, ``p521``, or ``rsa`` and the bits."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    if isinstance(key, rsa.RSAPrivateKey):
        return f"rsa{key.key_size}"
    return _CURVES[key.curve.name]


def key_pem(key: "PrivateKey") -> bytes:
    """PKCS#8, PEM, unencrypted: what every TLS library reads."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def spki(key: "PrivateKey") -> bytes:
    """DER SubjectPublicKeyInfo of the public half."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign_request(key: "PrivateKey", subject: Subject) -> str:
    """A PKCS#10 request, SHA-256, without extensions: PEM, checked as the service will check it.

    Raises InvalidSubject for values that X.509 does not take and a leaf of CsrRefused for a weak key.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    from keyborn.domain.csr import parse_csr

    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(subject))
    return parse_csr(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()).pem


def _name(subject: Subject) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    from keyborn.domain.errors import InvalidSubject

    types = {
        "C": NameOID.COUNTRY_NAME,
        "ST": NameOID.STATE_OR_PROVINCE_NAME,
        "L": NameOID.LOCALITY_NAME,
        "O": NameOID.ORGANIZATION_NAME,
        "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
        "CN": NameOID.COMMON_NAME,
        "serialNumber": NameOID.SERIAL_NUMBER,
    }
    try:
        return x509.Name([x509.NameAttribute(types[kind], value) for kind, value in subject.attributes])
    except ValueError as wrong:
        raise InvalidSubject(detail=str(wrong)) from None


def public_half(data: bytes, path: Path) -> bytes:
    """DER SubjectPublicKeyInfo of the key that a PEM file is about; raises KeyUnusable.

    It may be a public or a private key, a certificate request or a certificate: the first block counts.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    readers: dict[bytes, Callable[[bytes], PublicKeyTypes]] = {
        b"PUBLIC KEY": load_pem_public_key,
        b"CERTIFICATE": lambda pem: x509.load_pem_x509_certificate(pem).public_key(),
        b"CERTIFICATE REQUEST": lambda pem: x509.load_pem_x509_csr(pem).public_key(),
        b"NEW CERTIFICATE REQUEST": lambda pem: x509.load_pem_x509_csr(pem).public_key(),
    }
    block = _PEM_BLOCK.search(data)
    if block is None:
        raise KeyUnusable(path=path, detail="it holds no PEM block")
    reader = readers.get(block[1])
    if reader is None:
        return spki(read_key(data, path))
    try:
        public = reader(block[0] + b"\n")
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception:  # noqa: BLE001 - whatever the parser raises, it holds no key that can be registered
        raise KeyUnusable(path=path, detail="its PEM block does not hold a public key") from None
