"""From the text that a client sends to the DER of one certificate request, and back (RFC 7468).

Stricter than RFC 7468 asks of parsers: one block, no headers, no foreign characters, base64 in its one
canonical form. The only text that may stand before the block is what GnuTLS certtool and ``openssl req
-text`` write there by themselves; it is never read.
"""

import binascii
import re
from base64 import b64encode

from keyborn.domain.errors import CsrMalformed, CsrTooLarge

MAX_CSR = 4096
"""Characters; AWS IoT CreateCertificateFromCsr takes no more."""

_BLOCK = re.compile(
    r"-----BEGIN (?P<label>(?:NEW )?CERTIFICATE REQUEST)-----\r?\n"
    r"(?P<body>(?:[A-Za-z0-9+/=]+\r?\n)+)"
    r"-----END (?P=label)-----[\r\n]*"
)
_INTRODUCTIONS = ("PKCS #10 Certificate Request Information:", "Certificate Request:")
"""How certtool's and openssl's own descriptions of a request begin."""
_BEGIN = "-----BEGIN "
_LINE = 64


def quoted(text: str, limit: int = 40) -> str:
    """Show hostile text in a sentence: ASCII only, every other character escaped, cut after ``limit``."""
    return ascii(text[:limit]) + ("…" if len(text) > limit else "")


def der_from_pem(text: object) -> bytes:
    """Return the bytes of the one block in ``text``. Raises CsrMalformed or CsrTooLarge."""
    if not isinstance(text, str):
        raise CsrMalformed(detail="it is not a string")
    if len(text) > MAX_CSR:
        raise CsrTooLarge(length=len(text))
    if not text.isascii():
        raise CsrMalformed(detail="it holds characters outside ASCII")
    block = _BLOCK.fullmatch(_without_introduction(text))
    if block is None:
        raise CsrMalformed(detail=_fault(text))
    return _decode("".join(block["body"].split()))


def pem_from_der(der: bytes) -> str:
    """Write a request as one block: LF, lines of 64. Raises CsrTooLarge where AWS IoT would refuse."""
    body = b64encode(der).decode()
    lines = [body[at : at + _LINE] for at in range(0, len(body), _LINE)]
    pem = "\n".join(["-----BEGIN CERTIFICATE REQUEST-----", *lines, "-----END CERTIFICATE REQUEST-----", ""])
    if len(pem) > MAX_CSR:
        raise CsrTooLarge(length=len(pem))
    return pem


def _without_introduction(text: str) -> str:
    """Cut off the description that a known tool wrote before the block, if that is what stands there."""
    start = text.find(_BEGIN)
    before = text[: max(start, 0)]
    is_plain = before.endswith("\n") and not set(before) - _PRINTABLE
    return text[start:] if is_plain and before.startswith(_INTRODUCTIONS) else text


_PRINTABLE = frozenset(map(chr, range(0x20, 0x7F))) | {"\t", "\r", "\n"}


def _fault(text: str) -> str:
    """Say what is wrong with a text that is not one block; the first guess that fits."""
    if "PRIVATE KEY" in text:
        return "it holds a private key, which must stay on the device"
    if text.count(_BEGIN) > 1:
        return "it holds more than one PEM block"
    if not re.search(r"-----BEGIN (NEW )?CERTIFICATE REQUEST-----", text):
        return "it has no line -----BEGIN CERTIFICATE REQUEST-----"
    if not text.startswith(_BEGIN):
        return "text stands before its PEM block"
    return "its PEM block is damaged, or something follows it"


def _decode(body: str) -> bytes:
    """Decode base64 that must be the canonical form of its bytes (RFC 4648, 3.5)."""
    try:
        der = binascii.a2b_base64(body, strict_mode=True)
    except ValueError:
        der = b""
    if not der or b64encode(der).decode() != body:
        raise CsrMalformed(detail="its base64 is damaged")
    return der
