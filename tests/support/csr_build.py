"""A workshop for certificate requests byte by byte, right and wrong ones: nothing here checks anything."""

import textwrap
from base64 import b64encode
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.csr_make import DeviceKey, shared_key

Row = tuple[str, object, str]
"""One hostile input: what it is, the input, and the code that must refuse it."""

# ── values ────────────────────────────────────────────────────────────────────────────────────────────


def length(size: int) -> bytes:
    """The DER length octets of ``size``."""
    if size < 0x80:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0x80 | len(octets)]) + octets


def tlv(tag: int, *parts: bytes) -> bytes:
    """One element whose content is ``parts`` in a row."""
    content = b"".join(parts)
    return bytes([tag]) + length(len(content)) + content


def seq(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    return tlv(0x31, *parts)


def integer(number: int) -> bytes:
    return tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, signed=True))


def bits(content: bytes, unused: int = 0) -> bytes:
    return tlv(0x03, bytes([unused]), content)


def octets(content: bytes) -> bytes:
    return tlv(0x04, content)


def boolean(value: int) -> bytes:
    return tlv(0x01, bytes([value]))


def utf8(text: str) -> bytes:
    return tlv(0x0C, text.encode())


def printable(text: str) -> bytes:
    return tlv(0x13, text.encode())


NULL = tlv(0x05)


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from its dotted form."""
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        content += bytes(reversed(groups))
    return tlv(0x06, content)


# ── pieces of a request ───────────────────────────────────────────────────────────────────────────────

CN, C, L, ST, O, OU = "2.5.4.3", "2.5.4.6", "2.5.4.7", "2.5.4.8", "2.5.4.10", "2.5.4.11"  # noqa: E741 - X.520
NAME = "sensor-1"


def pair(kind: str, value: bytes) -> bytes:
    """An AttributeTypeAndValue."""
    return seq(oid(kind), value)


def part(kind: str, value: bytes) -> bytes:
    """A relative distinguished name of one pair."""
    return set_of(pair(kind, value))


def subject(*parts: bytes) -> bytes:
    """A Name of these parts."""
    return seq(*parts)


def extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    """An Extension; ``value`` is the DER inside its OCTET STRING."""
    return seq(oid(kind), *([boolean(0xFF)] if critical else []), octets(value))


def asking(*extensions: bytes) -> bytes:
    """The extensionRequest attribute (RFC 2985, 5.4.2)."""
    return seq(oid("1.2.840.113549.1.9.14"), set_of(seq(*extensions)))


def spki_of(key: DeviceKey) -> bytes:
    """The SubjectPublicKeyInfo of a key."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def rsa_spki(modulus: int, exponent: int) -> bytes:
    """The SubjectPublicKeyInfo of two numbers."""
    return seq(RSA_ALGORITHM, bits(seq(integer(modulus), integer(exponent))))


def ec_spki(curve: str, point: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a point on the curve of that object identifier."""
    return seq(seq(oid("1.2.840.10045.2.1"), oid(curve)), bits(point))


RSA_ALGORITHM = seq(oid("1.2.840.113549.1.1.1"), NULL)
P256 = "1.2.840.10045.3.1.7"
ECDSA_SHA256 = seq(oid("1.2.840.10045.4.3.2"))
RSA_SHA256 = seq(oid("1.2.840.113549.1.1.11"), NULL)


# ── whole requests ────────────────────────────────────────────────────────────────────────────────────


Signer = Callable[[bytes], bytes]
"""Whatever can sign the bytes of a request."""


def signer(key: DeviceKey, digest: hashes.HashAlgorithm | None = None) -> Signer:
    """Sign as honest clients do: ECDSA or PKCS#1 v1.5, SHA-256."""
    digest = digest or hashes.SHA256()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return lambda info: key.sign(info, ec.ECDSA(digest))
    return lambda info: key.sign(info, padding.PKCS1v15(), digest)


def info_der(
    *,
    version: bytes = b"\x02\x01\x00",
    name: bytes | None = None,
    spki: bytes | None = None,
    attributes: bytes = b"\xa0\x00",
) -> bytes:
    """A CertificationRequestInfo, right unless told otherwise."""
    return seq(
        version,
        subject(part(CN, utf8(NAME))) if name is None else name,
        spki_of(shared_key()) if spki is None else spki,
        attributes,
    )


def request_der(
    info: bytes | None = None, *, algorithm: bytes = ECDSA_SHA256, sign: Signer | None = None
) -> bytes:
    """A CertificationRequest, signed over its info by the shared P-256 key unless told otherwise."""
    info = info_der() if info is None else info
    sign = sign or signer(shared_key())
    return seq(info, algorithm, bits(sign(info)))


def pem(der: bytes, *, label: str = "CERTIFICATE REQUEST", newline: str = "\n", width: int = 64) -> str:
    """One PEM block."""
    lines = textwrap.wrap(b64encode(der).decode(), width)
    return newline.join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def with_name(*parts: bytes) -> str:
    """A well-signed request with this subject."""
    return pem(request_der(info_der(name=subject(*parts))))


def with_attributes(*attributes: bytes) -> str:
    """A well-signed request with these attributes."""
    return pem(request_der(info_der(attributes=tlv(0xA0, *attributes))))


def with_extensions(*extensions: bytes) -> str:
    """A well-signed request that asks for these extensions."""
    return with_attributes(asking(*extensions))


def with_key(
    spki: bytes, sign: Signer = lambda _: bytes(256), *, algorithm: bytes = RSA_SHA256, width: int = 64
) -> str:
    """A request for this key; signed with zeros unless told otherwise."""
    return pem(request_der(info_der(spki=spki), algorithm=algorithm, sign=sign), width=width)
