"""Enrolment tokens (a permission to enrol) and enrolment codes (the word a person pastes on a device).

The code carries trust and permission together: service URL, fingerprint of its root, secret, issue time and
expiry (design PROTOCOL "Enrolment code and first trust").
"""

import base64
import binascii
import hashlib
import hmac
import re
import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NewType
from urllib.parse import urlsplit

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.errors import CredentialRefused, InvalidCode, KeybornError
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, NameScope, is_host, parse_group_name
from keyborn.domain.thing import ThingKind

TokenId = NewType("TokenId", str)
"""``t`` and the first 16 hex characters of the secret's SHA-256: public, used to look the token up."""

SECRET_BYTES = 32
MAX_SECRET_BYTES = 320
"""A sealed one says what it permits (``domain.seal``): a pattern of 64 characters, a policy of 128."""
FINGERPRINT_BYTES = 32
CODE_PREFIX = "kb1."
GROUP_KEY_PREFIX = "kbg1."
"""How the text of a group key begins (``domain.group_key``), which no device takes."""
MAX_CODE = 1024
_HEADER = struct.Struct(">QQB")
"""Issued, expires, bytes of the fingerprint. Its highest bit says that the secret has a length of its own,
the next one that facts follow: a byte of length, and ``method:group`` or ``method:group:key id`` in ASCII.
Who does not know that bit takes the fingerprint for too long, and refuses the code."""
_LENGTH = struct.Struct(">H")
_OWN_LENGTH, _FACTS = 0x80, 0x40
_GROUP_KEY_ID = re.compile(r"k[0-9a-f]{16}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""``fromtimestamp`` ends in 2038 where the C library's time has 32 bits, as on small boards."""
_CHECK_BYTES = 4
_URL = re.compile(
    r"https://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)?"
)
"""RFC 3986 without user, query and fragment; no name that needs IDNA, for look-alikes are somebody else's."""


@dataclass(frozen=True, slots=True)
class EnrollmentToken:
    """A permission to enrol, as the registry keeps it: the digest of the secret, never the secret."""

    id: TokenId
    digest: bytes
    scope: NameScope
    uses: int | None
    """How many (thing, key) pairs may redeem it; None is unlimited."""
    issued_at: datetime
    expires_at: datetime
    replace: bool = False
    withdrawn_at: datetime | None = None
    kind: ThingKind = ThingKind.DEVICE
    """What may be enrolled with it."""
    policies: tuple[PolicyName, ...] | None = None
    """Access policies that a name gets when it is claimed with it; None is the default policy."""
    group: GroupName | None = None
    """Under whose rule its holders enrol; None: under that of the token alone."""
    key: bytes | None = field(default=None, repr=False)
    """Of a group key, the key itself: the service computes with it. Nobody may enrol by showing it.

    Lists, and what withdrawing returns, say that there is one by an empty one (``listed``).
    """

    def proves(self, secret: bytes) -> bool:
        """Whether ``secret`` is this token's, compared in constant time."""
        return hmac.compare_digest(self.digest, digest(secret))

    def expired(self, now: datetime) -> bool:
        """Whether the token no longer permits anything new."""
        return now >= self.expires_at

    def listed(self) -> "EnrollmentToken":
        """The same for an operator's eyes: a group key without the key."""
        return self if self.key is None else replace(self, key=b"")


@dataclass(frozen=True, slots=True)
class TokenUse:
    """A token and how many (thing, key) pairs have redeemed it."""

    token: EnrollmentToken
    uses_taken: int


def digest(secret: bytes) -> bytes:
    """SHA-256 of a secret. No salt: it holds at least 128 random bits."""
    return hashlib.sha256(secret).digest()


def token_id(secret: bytes) -> TokenId:
    """The public id under which the token of ``secret`` is found."""
    return TokenId("t" + digest(secret).hex()[:16])


def encode_secret(secret: bytes) -> str:
    """The secret as clients send it: base64url, no padding; 43 characters for 32 bytes."""
    return _b64(secret)


def decode_secret(text: str) -> bytes:
    """Read a bearer secret. Raises CredentialRefused for anything but base64url of 32 to 320 bytes."""
    if len(text) > 2 * MAX_SECRET_BYTES:
        raise CredentialRefused
    try:
        secret = _unb64(text)
    except ValueError:
        raise CredentialRefused from None
    if not SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES or _b64(secret) != text:
        raise CredentialRefused
    return secret


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What a code says where its secret is not a bearer token: how to prove oneself, and for which group."""

    method: Method
    """``group-key``, or one for which the code brings no secret."""
    group: GroupName
    key: TokenId | None = None
    """Of a group key: the id under which the service knows it."""

    @property
    def has_secret(self) -> bool:
        """Whether a secret comes with it: the key that was derived from a group key."""
        return self.method is Method.GROUP_KEY

    def __str__(self) -> str:
        """As a code holds it."""
        return ":".join([self.method.value, self.group, *([] if self.key is None else [self.key])])


_SECRETLESS = frozenset({Method.FACTORY, Method.OIDC, Method.REGISTERED, Method.ASK})


@dataclass(frozen=True, slots=True)
class EnrollmentCode:
    """What a device needs to enrol: whom to trust, and the permission."""

    url: str
    """``https://host[:port]`` of the service."""
    fingerprint: bytes
    """SHA-256 of the root's DER, or empty for a public CA."""
    secret: bytes
    issued_at: datetime
    """Whole seconds, UTC; with ``expires_at`` it bounds the time a device without a clock may assume."""
    expires_at: datetime
    facts: CodeFacts | None = None
    """None: the secret is a bearer token, which says the rest."""

    def __repr__(self) -> str:
        """Leave the secret out of logs and tracebacks."""
        facts = "" if self.facts is None else f", facts={str(self.facts)!r}"
        return f"EnrollmentCode(url={self.url!r}, expires_at={self.expires_at.isoformat()}{facts})"

    @property
    def method(self) -> Method:
        """How its holder proves itself."""
        return Method.TOKEN if self.facts is None else self.facts.method

    @property
    def group(self) -> GroupName | None:
        """Which group its holder names; None: the token says."""
        return None if self.facts is None else self.facts.group

    def encode(self, prefix: str = CODE_PREFIX) -> str:
        """One URL-safe word: ``kb1.`` and base64url of times, fingerprint, facts, secret, URL and a check."""
        usual = len(self.secret) == SECRET_BYTES
        facts = b"" if self.facts is None else str(self.facts).encode()
        size = len(self.fingerprint) | (0 if usual else _OWN_LENGTH) | (_FACTS if facts else 0)
        head = _HEADER.pack(_epoch(self.issued_at), _epoch(self.expires_at), size)
        told = bytes([len(facts)]) + facts if facts else b""
        length = b"" if usual else _LENGTH.pack(len(self.secret))
        body = head + self.fingerprint + told + length + self.secret + self.url.encode()
        return prefix + _b64(body + _check(body, prefix))

    @staticmethod
    def decode(text: str, prefix: str = CODE_PREFIX) -> "EnrollmentCode":
        """Read a code; raises InvalidCode, which says whether it is cut short, damaged or something else."""
        word = text.strip()
        if not word.startswith(prefix):
            if word.startswith(GROUP_KEY_PREFIX):
                detail = "it is a group key, which makes the codes of devices: keyborn group key derive"
                raise InvalidCode(detail=detail)
            raise InvalidCode(detail=f"it does not start with `{prefix}`")
        if len(word) > MAX_CODE:
            raise InvalidCode(detail="it is too long")
        try:
            raw = _unb64(word.removeprefix(prefix))
        except ValueError:
            raise InvalidCode(detail="it holds a character outside base64url, or is cut short") from None
        body, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
        if len(body) <= _HEADER.size or not hmac.compare_digest(check, _check(body, prefix)):
            raise InvalidCode(detail="it is damaged or cut short")
        return _read_body(body)


def _read_body(body: bytes) -> EnrollmentCode:
    issued, expires, size = _HEADER.unpack_from(body)
    fingerprint, rest = _cut(body[_HEADER.size :], size & ~(_OWN_LENGTH | _FACTS))
    if len(fingerprint) not in (0, FINGERPRINT_BYTES):
        raise InvalidCode(detail="its fingerprint is not a SHA-256")
    facts = None
    if size & _FACTS:
        count, rest = _cut(rest, 1)
        told, rest = _cut(rest, count[0])
        facts = _read_facts(told)
    length = SECRET_BYTES
    if size & _OWN_LENGTH:
        told, rest = _cut(rest, _LENGTH.size)
        (length,) = _LENGTH.unpack(told)
    secret, url = _cut(rest, length)
    _require_length(length, facts)
    try:
        issued_at, expires_at = (_EPOCH + timedelta(seconds=each) for each in (issued, expires))
        address = require_service_url(url.decode())
    except (ValueError, OverflowError, OSError):
        raise InvalidCode(detail="its times or its URL make no sense") from None
    return EnrollmentCode(address, fingerprint, secret, issued_at, expires_at, facts)


def _read_facts(told: bytes) -> CodeFacts:
    """Read ``method:group`` or ``method:group:key id``; raises InvalidCode."""
    try:
        method, group, *key = told.decode("ascii").split(":")
        facts = CodeFacts(Method(method), parse_group_name(group), TokenId(key[0]) if key else None)
    except (ValueError, KeybornError):
        facts = None
    if facts is None or str(facts).encode() != told:
        raise InvalidCode(detail="it is for a way to enrol that this version does not know")
    has_key = facts.key is not None and _GROUP_KEY_ID.fullmatch(facts.key) is not None
    if not (has_key if facts.has_secret else facts.key is None and facts.method in _SECRETLESS):
        raise InvalidCode(detail="it is for a way to enrol that this version does not know")
    return facts


def _require_length(length: int, facts: CodeFacts | None) -> None:
    """A bearer secret, a derived key, or nothing at all; raises InvalidCode."""
    if facts is None:
        fits = SECRET_BYTES <= length <= MAX_SECRET_BYTES
    else:
        fits = length == (SECRET_BYTES if facts.has_secret else 0)
    if not fits:
        raise InvalidCode(detail="its secret is too short or too long")


def _cut(raw: bytes, size: int) -> tuple[bytes, bytes]:
    """The first ``size`` bytes and the rest; raises InvalidCode where there are fewer."""
    if len(raw) < size:
        raise InvalidCode(detail="it is cut short")
    return raw[:size], raw[size:]


def require_service_url(url: str) -> str:
    """Return ``url`` if it is ``https://host[:port][/prefix]`` and nothing more; raises InvalidCode."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "https" and parts.port != 0 and _URL.fullmatch(url) is not None
        valid = valid and is_host(parts.hostname or "")
    except ValueError:
        valid = False
    if not valid:
        raise InvalidCode(detail="its URL is not https://host[:port]")
    return url


def _check(body: bytes, prefix: str) -> bytes:
    """Of a group key it differs from that of a code: neither is taken for the other."""
    label = b"" if prefix == CODE_PREFIX else prefix.encode()
    return hashlib.sha256(label + body).digest()[:_CHECK_BYTES]


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    if not text.isascii():
        raise ValueError
    padded = text + "=" * (-len(text) % 4)
    try:
        return base64.b64decode(padded.encode(), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError from None
