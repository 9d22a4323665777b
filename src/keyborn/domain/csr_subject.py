"""The subject of a certificate request: few attributes, each once, in plain text (RFC 5280 4.1.2.6).

Keyborn's own certificates take nothing from it, but AWS IoT copies it whole into the certificate. So nothing
may stand in it that could be read as an identity other than the thing name: one common name, and besides it
only where the device's owner sits. E-mail addresses, user ids, host names and serial numbers are refused.
"""

import re
import unicodedata
from dataclasses import dataclass

from keyborn.domain.csr_der import (
    OID,
    PRINTABLE_STRING,
    SEQUENCE,
    SET,
    UTF8_STRING,
    Element,
    dotted,
    expect,
)
from keyborn.domain.csr_pem import quoted
from keyborn.domain.errors import CsrSubjectRefused

_COMMON_NAME = re.compile(r"[A-Za-z0-9:_-]+(?: [A-Za-z0-9:_-]+)*")
"""A thing name, or words of such characters: the well-known pattern's ``AWS IoT Certificate`` has spaces."""

_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,./:=?-]*")
"""PrintableString (X.680, 41.4)."""

_COUNTRY = re.compile(r"[A-Za-z]{2}")


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    limit: int
    """Characters: the upper bounds of RFC 5280, appendix A.1."""


_CN, _C = "CN", "C"
_KINDS = {
    "2.5.4.3": _Kind(_CN, 64),
    "2.5.4.6": _Kind(_C, 2),
    "2.5.4.7": _Kind("L", 128),
    "2.5.4.8": _Kind("ST", 128),
    "2.5.4.10": _Kind("O", 64),
    "2.5.4.11": _Kind("OU", 64),
}
_FOREIGN = {
    "2.5.4.4": "a surname",
    "2.5.4.5": "a serialNumber",
    "2.5.4.12": "a title",
    "2.5.4.41": "a name",
    "2.5.4.42": "a givenName",
    "2.5.4.46": "a dnQualifier",
    "2.5.4.65": "a pseudonym",
    "0.9.2342.19200300.100.1.1": "a UID",
    "0.9.2342.19200300.100.1.25": "a domainComponent",
    "1.2.840.113549.1.9.1": "an emailAddress",
    "1.2.840.113549.1.9.2": "an unstructuredName",
}


def read_subject(subject: Element) -> str:
    """Check the whole subject and return its common name.

    The name is 1 to 64 of ``A-Z a-z 0-9 : _ -`` and single inner spaces; whether it is the thing name is for
    the issuance policy to say. Raises CsrSubjectRefused, or CsrMalformed where the structure is not a Name.
    """
    found: dict[str, str] = {}
    for part in expect(subject, SEQUENCE, "subject").children:
        kind, value = _read_part(part)
        if kind.name in found:
            raise CsrSubjectRefused(detail=f"it has two {kind.name}")
        found[kind.name] = _check_value(kind, value)
    if _CN not in found:
        raise CsrSubjectRefused(detail="it has no CN")
    return found[_CN]


def _read_part(part: Element) -> tuple[_Kind, Element]:
    """Read one relative distinguished name, which must be a set of one."""
    if len(expect(part, SET, "subject").children) != 1:
        raise CsrSubjectRefused(detail="a part of it has not exactly one value")
    pair = expect(part.children[0], SEQUENCE, "subject").children
    if len(pair) != 2:  # noqa: PLR2004 - AttributeTypeAndValue is a pair
        raise CsrSubjectRefused(detail="a part of it is not a pair of type and value")
    name = dotted(expect(pair[0], OID, "subject").content)
    if name not in _KINDS:
        raise CsrSubjectRefused(detail=f"it has {_FOREIGN.get(name, 'an attribute of the type ' + name)}")
    return _KINDS[name], pair[1]


def _check_value(kind: _Kind, value: Element) -> str:
    """Decode and check the value of one attribute."""
    text = _decode(kind, value)
    if not 1 <= len(text) <= kind.limit:
        raise CsrSubjectRefused(detail=f"its {kind.name} has {len(text)} characters, not 1 to {kind.limit}")
    if any(unicodedata.category(character) in _INVISIBLE for character in text):
        raise CsrSubjectRefused(detail=f"its {kind.name} {quoted(text)} has a control or invisible character")
    if kind.name == _CN and not _COMMON_NAME.fullmatch(text):
        raise CsrSubjectRefused(
            detail=f"its CN {quoted(text)} cannot be a thing name (1 to 64 of A-Z a-z 0-9 : _ -)"
        )
    if kind.name == _C and not _COUNTRY.fullmatch(text):
        raise CsrSubjectRefused(detail=f"its C {quoted(text)} is not a country code of two letters")
    return text


_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def _decode(kind: _Kind, value: Element) -> str:
    """Decode the two string types that RFC 5280 4.1.2.4 allows in new certificates."""
    if value.tag not in (UTF8_STRING, PRINTABLE_STRING):
        raise CsrSubjectRefused(detail=f"its {kind.name} is neither a UTF8String nor a PrintableString")
    try:
        text = value.content.decode("utf-8")
    except UnicodeDecodeError:
        raise CsrSubjectRefused(detail=f"its {kind.name} is not valid UTF-8") from None
    if value.tag == PRINTABLE_STRING and not _PRINTABLE.fullmatch(text):
        raise CsrSubjectRefused(detail=f"its {kind.name} {quoted(text)} is not a PrintableString")
    return text
