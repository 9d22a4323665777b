"""Subjects as openssl writes them: ``/C=JP/ST=Tokyo/O=Example``; a backslash escapes a slash in a value."""

import re
from dataclasses import dataclass

from keyborn.domain.errors import InvalidSubject
from keyborn.domain.names import ThingName

ATTRIBUTES = ("C", "ST", "L", "O", "OU", "CN", "serialNumber")
MAX_SUBJECT = 1024
_PART = re.compile(r"/(?P<type>[A-Za-z]+)=(?P<value>(?:\\.|[^/\\])*)", re.DOTALL)
_SPECIAL = re.compile(r"([/\\])")
_BACKSLASHED = r"\\\1"
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subject:
    """Attribute types and values in order; the common name is the thing name and comes last."""

    attributes: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """The subject as openssl writes it."""
        return "".join(f"/{kind}={re.sub(_SPECIAL, _BACKSLASHED, value)}" for kind, value in self.attributes)


def parse_subject(text: str, thing: ThingName) -> Subject:
    """Read ``--subject``; an empty text is the common name alone. Raises InvalidSubject."""
    if len(text) > MAX_SUBJECT:
        raise InvalidSubject(detail=f"it has more than {MAX_SUBJECT} characters")
    parts = [(kind, value) for kind, value in _split(text) if not _is_common_name(kind, value, thing)]
    return Subject((*parts, ("CN", thing)))


def remembered(text: str, thing: ThingName) -> Subject:
    """What ``device.toml`` has of an earlier ``--subject``; what cannot be read there is left out."""
    try:
        return parse_subject(text, thing)
    except InvalidSubject:  # somebody has edited the file: that must not keep a device from renewing
        return parse_subject("", thing)


def _split(text: str) -> list[tuple[str, str]]:
    parts, position = [], 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            raise InvalidSubject(detail=f"{text[position : position + 20]!r} is not /TYPE=value")
        parts.append((match["type"], _value(match["type"], _ESCAPE.sub(r"\1", match["value"]))))
        position = match.end()
    return parts


def _value(kind: str, value: str) -> str:
    if kind not in ATTRIBUTES:
        raise InvalidSubject(detail=f"{kind[:20]} is not one of {', '.join(ATTRIBUTES)}")
    if not value or not value.isprintable():
        raise InvalidSubject(detail=f"the value of {kind} is empty or not printable")
    return value


def _is_common_name(kind: str, value: str, thing: ThingName) -> bool:
    if kind != "CN":
        return False
    if value != thing:
        raise InvalidSubject(detail=f"its CN is {value[:80]!r}, but the thing is {thing}")
    return True
