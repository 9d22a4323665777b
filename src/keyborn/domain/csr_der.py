"""A strict reader of DER (ITU-T X.690, section 10), for requests of a few kilobytes.

Everything that BER would let pass and DER does not is refused: indefinite and long-winded lengths, padded
integers, booleans other than 00 and FF, constructed strings, unused bits that are set. Depth and number of
elements are bounded, so the time is linear in the input. Errors name the fault, never the bytes.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from keyborn.domain.errors import CsrMalformed

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
UTF8_STRING, PRINTABLE_STRING = 0x0C, 0x13
SEQUENCE, SET = 0x30, 0x31

MAX_DEPTH = 12
"""A request with every extension we accept is 8 deep, counted from its outermost SEQUENCE."""
MAX_ELEMENTS = 400
"""A request with every extension we accept has fewer than 100 elements."""
MAX_OID = 32
"""Octets of one object identifier; the longest we know by name has 11."""

_CONSTRUCTED, _HIGH_TAG, _CLASS = 0x20, 0x1F, 0xC0
_LONG_LENGTH, _LONGEST_LENGTH = 0x80, 2


class Element(NamedTuple):
    """One tag-length-value: its identifier octet, its content, and the whole as it was sent."""

    tag: int
    content: bytes
    whole: bytes
    children: tuple["Element", ...] = ()
    """What a constructed element holds, in order."""


class _Budget:
    """How many elements one document may still hold."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_ELEMENTS

    def spend(self) -> None:
        """Count one element. Raises CsrMalformed when there are too many."""
        self.left -= 1
        if self.left < 0:
            raise CsrMalformed(detail="its DER has too many elements")


def read_der(data: bytes) -> Element:
    """Read exactly one DER value. Raises CsrMalformed for anything else."""
    element, end = _read(data, 0, 1, _Budget())
    if end != len(data):
        raise CsrMalformed(detail="bytes follow the end of its DER")
    return element


def _read(data: bytes, at: int, depth: int, budget: _Budget) -> tuple[Element, int]:
    """Read the element at ``at``; return it and the offset behind it."""
    budget.spend()
    if depth > MAX_DEPTH:
        raise CsrMalformed(detail="its DER is nested too deep")
    if at + 2 > len(data):
        raise CsrMalformed(detail="its DER ends too early")
    tag, first = data[at], data[at + 1]
    if tag not in _PLAIN_TAGS:
        raise CsrMalformed(detail=_fault_of(tag))
    start, length = (at + 2, first) if first < _LONG_LENGTH else _long_length(data, at + 1)
    end = start + length
    if end > len(data):
        raise CsrMalformed(detail="its DER ends too early")
    content = data[start:end]
    if not tag & _CONSTRUCTED:
        rule = _RULES.get(tag)
        if rule is not None and not rule[0](content):
            raise CsrMalformed(detail=f"its DER has a wrong {rule[1]}")
        return Element(tag, content, data[at:end]), end
    return Element(tag, content, data[at:end], _children(content, depth + 1, budget)), end


def _children(content: bytes, depth: int, budget: _Budget) -> tuple[Element, ...]:
    """Read the elements that fill ``content``."""
    found = []
    at, end = 0, len(content)
    while at < end:
        child, at = _read(content, at, depth, budget)
        found.append(child)
    return tuple(found)


def _fault_of(tag: int) -> str:
    """Say what is wrong with an identifier octet that no element of ours may have."""
    if tag & _HIGH_TAG == _HIGH_TAG:
        return "its DER has a tag number above 30"
    return "its DER has an element in a form that only BER allows"


def _is_plain(tag: int) -> bool:
    """Whether an identifier octet has a tag number up to 30, in the form that DER has for it."""
    if tag & _HIGH_TAG == _HIGH_TAG:
        return False
    is_sequence_or_set = tag & _HIGH_TAG in (SEQUENCE & _HIGH_TAG, SET & _HIGH_TAG)
    return bool(tag & _CLASS) or (is_sequence_or_set == bool(tag & _CONSTRUCTED) and bool(tag))


_PLAIN_TAGS = frozenset(filter(_is_plain, range(0x100)))


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content starts and how long it is (X.690, 10.1: definite and minimal)."""
    first = data[at]
    octets = data[at + 1 : at + 1 + first - _LONG_LENGTH]
    if first == _LONG_LENGTH:
        raise CsrMalformed(detail="its DER has an indefinite length, which only BER allows")
    if first - _LONG_LENGTH > _LONGEST_LENGTH or len(octets) != first - _LONG_LENGTH:
        raise CsrMalformed(detail="its DER has a length beyond its end")
    length = int.from_bytes(octets)
    if length < _LONG_LENGTH or not octets[0]:
        raise CsrMalformed(detail="its DER has a length that is not written in the shortest form")
    return at + 1 + len(octets), length


def _boolean(content: bytes) -> bool:
    return content in (b"\x00", b"\xff")


def _integer(content: bytes) -> bool:
    padded = len(content) > 1 and (content[0], content[1] >> 7) in ((0x00, 0), (0xFF, 1))
    return bool(content) and not padded


def _bit_string(content: bytes) -> bool:
    if not content or content[0] > 7:  # noqa: PLR2004 - a count of bits within an octet
        return False
    if len(content) == 1:
        return content[0] == 0
    return not content[-1] & ((1 << content[0]) - 1)


def _null(content: bytes) -> bool:
    return not content


def _oid(content: bytes) -> bool:
    if not 0 < len(content) <= MAX_OID or content[-1] & 0x80:
        return False
    if _LONG_LENGTH not in content:
        return True  # an arc that is padded starts with this octet
    starts = b"\x00" + content[:-1]  # the octet before each: an arc starts where it has no continuation bit
    return not any(
        octet == _LONG_LENGTH and not before & 0x80 for before, octet in zip(starts, content, strict=True)
    )


_RULES: dict[int, tuple[Callable[[bytes], bool], str]] = {
    BOOLEAN: (_boolean, "BOOLEAN"),
    INTEGER: (_integer, "INTEGER"),
    BIT_STRING: (_bit_string, "BIT STRING"),
    NULL: (_null, "NULL"),
    OID: (_oid, "OBJECT IDENTIFIER"),
}


def expect(element: Element, tag: int, what: str) -> Element:
    """Return ``element`` if it has the tag. Raises CsrMalformed, naming ``what`` was expected."""
    if element.tag != tag:
        raise CsrMalformed(detail=f"its {what} is not in the place or of the type that PKCS#10 demands")
    return element


def fields(element: Element, tags: tuple[int, ...], what: str) -> tuple[Element, ...]:
    """Return the children of a SEQUENCE that must have exactly these tags in this order."""
    expect(element, SEQUENCE, what)
    if tuple(child.tag for child in element.children) != tags:
        raise CsrMalformed(detail=f"its {what} does not have the fields that PKCS#10 demands")
    return element.children


def sequence(*parts: bytes) -> bytes:
    """Write a SEQUENCE of finished elements, at most 65,535 octets long."""
    content = b"".join(parts)
    size = len(content)
    if size < _LONG_LENGTH:
        return bytes([SEQUENCE, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([SEQUENCE, _LONG_LENGTH | len(octets)]) + octets + content


@lru_cache(maxsize=256)
def dotted(oid: bytes) -> str:
    """Write the content of an OBJECT IDENTIFIER, checked by ``read_der``, as ``1.2.840…`` for a sentence."""
    arcs = [0]
    for octet in oid:
        arcs[-1] = arcs[-1] << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(0)
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:-1]]))
