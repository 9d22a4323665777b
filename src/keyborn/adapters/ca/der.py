"""The few pieces of DER (X.690) that are written by hand here, and one reader."""

from datetime import datetime

BOOLEAN, INTEGER, BITS, OCTETS, NULL, OID, UTF8 = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C
UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 0x17, 0x18, 0x30, 0x31
_LONG = 0x80
_UTC_TIME_ENDS = 2050


def der(tag: int, *parts: bytes) -> bytes:
    """One value: tag, definite length, content (8.1)."""
    content = b"".join(parts)
    size = len(content)
    if size < _LONG:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, _LONG | len(length))) + length + content


def integer(number: int) -> bytes:
    """A number that is not negative: the sign bit stays clear (8.3)."""
    return der(INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def moment(time: datetime) -> bytes:
    """A date of a certificate: UTCTime before 2050, then GeneralizedTime (RFC 5280 4.1.2.5)."""
    digits = f"{time:%Y%m%d%H%M%SZ}".encode()
    return der(UTC_TIME, digits[2:]) if time.year < _UTC_TIME_ENDS else der(GENERALIZED_TIME, digits)


def content(data: bytes, tag: int, start: int = 0) -> tuple[int, int]:
    """Where the content of the value at ``start`` begins and ends; raises ValueError for another tag."""
    if data[start] != tag:
        raise ValueError("not the DER that was expected")
    begin, size = start + 2, data[start + 1]
    if size & _LONG:
        begin += size - _LONG
        size = int.from_bytes(data[start + 2 : begin])
    return begin, begin + size


def key_bits(spki: bytes) -> bytes:
    """The key inside a SubjectPublicKeyInfo: its BIT STRING without the count of unused bits."""
    inside, _ = content(spki, SEQUENCE)
    _, after_algorithm = content(spki, SEQUENCE, inside)
    begin, end = content(spki, BITS, after_algorithm)
    return spki[begin + 1 : end]
