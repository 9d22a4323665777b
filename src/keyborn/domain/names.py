"""Thing names, key hashes, certificate ids and the scopes that tokens are bound to.

Rules: design PROTOCOL "Names and keys". AWS IoT allows 128 characters for a thing name; X.509 allows 64 for a
common name (RFC 5280, ub-common-name), so Keyborn uses 64.
"""

import hashlib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NewType

from keyborn.domain.errors import InvalidGroupName, InvalidKeyHash, InvalidThingName, ReservedThingName

ThingName = NewType("ThingName", str)
"""1-64 of ``A-Z a-z 0-9 : _ -``; compared byte for byte."""

GroupName = NewType("GroupName", str)
"""Of an enrolment group: 1-64 of ``a-z 0-9 . _ -``, a letter or digit first; compared byte for byte."""

KeyHash = NewType("KeyHash", str)
"""Lower-case hex SHA-256 of the DER SubjectPublicKeyInfo: 64 characters."""

CertificateId = NewType("CertificateId", str)
"""Lower-case hex SHA-256 of the leaf's DER, as AWS IoT computes it: 64 characters."""

MAX_THING_NAME = 64
_THING_NAME = re.compile(r"[A-Za-z0-9:_-]{1,64}")
_GLOB = re.compile(r"[A-Za-z0-9:_*?-]{1,64}")
_GROUP_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_ADDRESS = re.compile(r"(?=.*:.*:)[0-9A-Fa-f:.]{2,45}")
_KEY_HASH = re.compile(r"[0-9a-f]{64}")
_CERTIFICATE_ID = re.compile(r"[0-9a-f]{64}")
RESERVED_PREFIX = "keyborn"


def parse_thing_name(
    text: object, *, reserved: frozenset[str] = frozenset(), granted: ThingName | None = None
) -> ThingName:
    """Return ``text`` as a thing name.

    ``reserved`` holds further refused names in lower case (the service's own host names). ``granted`` is one
    name that the caller may have although it is reserved: Keyborn's own services get theirs so.
    Raises InvalidThingName or ReservedThingName.
    """
    if not isinstance(text, str):
        raise InvalidThingName(detail="it is not a string")
    if not text:
        raise InvalidThingName(detail="it is empty")
    if len(text) > MAX_THING_NAME:
        raise InvalidThingName(detail=f"it has {len(text)} characters")
    if not _THING_NAME.fullmatch(text):
        raise InvalidThingName(detail=f"{_first_unfit(text)} cannot be part of it")
    if text != granted and (text.lower().startswith(RESERVED_PREFIX) or text.lower() in reserved):
        raise ReservedThingName(name=text)
    return ThingName(text)


def parse_group_name(text: object) -> GroupName:
    """Return ``text`` as the name of an enrolment group; raises InvalidGroupName."""
    if not isinstance(text, str) or not _GROUP_NAME.fullmatch(text):
        raise InvalidGroupName
    return GroupName(text)


def _first_unfit(text: str, also: str = "") -> str:
    """The first character that no name may have, as ASCII shows it."""
    return ascii(next(each for each in text if each not in also and not _THING_NAME.fullmatch(each)))


def fold_name(name: ThingName) -> str:
    """The form in which two names that differ only by case are equal."""
    return name.lower()


def key_hash(spki_der: bytes) -> KeyHash:
    """Hash a DER SubjectPublicKeyInfo."""
    return KeyHash(hashlib.sha256(spki_der).hexdigest())


def parse_key_hash(text: object) -> KeyHash:
    """Return ``text`` as a key hash, in lower case; raises InvalidKeyHash."""
    if not isinstance(text, str) or not _KEY_HASH.fullmatch(text.lower()):
        raise InvalidKeyHash
    return KeyHash(text.lower())


def certificate_id(certificate_der: bytes) -> CertificateId:
    """Hash a leaf's DER, as AWS IoT does for ``certificateId``."""
    return CertificateId(hashlib.sha256(certificate_der).hexdigest())


def is_certificate_id(text: str) -> bool:
    """Whether ``text`` has the shape of a certificate id."""
    return _CERTIFICATE_ID.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Whether ``text`` can be looked up: a host name of labels of 1-63 characters (RFC 1123), or an address.

    Labels may hold ``_``, as those of containers do.
    """
    return any(pattern.fullmatch(text) for pattern in (_HOST, _ADDRESS))


@dataclass(frozen=True, slots=True)
class NameScope:
    """Which thing names a credential is good for: one name, or a glob of ``*`` and ``?``."""

    pattern: str

    def __post_init__(self) -> None:
        """Raise InvalidThingName where no thing name could ever match."""
        if not self.pattern:
            raise InvalidThingName(detail="the pattern: it is empty")
        if len(self.pattern) > MAX_THING_NAME:
            raise InvalidThingName(detail=f"the pattern has {len(self.pattern)} characters")
        if not _GLOB.fullmatch(self.pattern):
            raise InvalidThingName(detail=f"{_first_unfit(self.pattern, '*?')} cannot be part of the pattern")

    @property
    def is_exact(self) -> bool:
        """Whether the scope is one name."""
        return not set(self.pattern) & {"*", "?"}

    def covers(self, name: ThingName) -> bool:
        """Whether ``name`` falls into the scope, byte for byte."""
        return fnmatchcase(name, self.pattern)  # it remembers patterns; [ is in no scope
