"""API keys: who may operate a service from elsewhere, as what, and until when.

The word that an operator keeps carries trust and permission together, as an enrolment code does: the
service's URL, the fingerprint of its root, and the secret. One file is all that a remote operator needs.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

from keyborn.domain.errors import InvalidApiKey, InvalidCode, InvalidSetting
from keyborn.domain.token import FINGERPRINT_BYTES, SECRET_BYTES, digest, require_service_url

ApiKeyId = NewType("ApiKeyId", str)
"""``a`` and the first 16 hex characters of the secret's SHA-256: public, used to look the key up."""

WORD_PREFIX = "kba1."
MAX_WORD = 1024
DEFAULT_TTL = timedelta(days=90)
MAX_TTL = timedelta(days=366)
"""A year, whichever."""
_CHECK_BYTES = 4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,62}[A-Za-z0-9]|[A-Za-z0-9]")


class Role(StrEnum):
    """What an operator may do; each role may do what those before it may."""

    VIEWER = "viewer"
    """Look at everything, change nothing."""
    APPROVER = "approver"
    """Decide about those who ask to enrol."""
    ADMIN = "admin"
    """Everything that can be done from elsewhere."""

    def covers(self, wanted: "Role") -> bool:
        """Whether this role may do what ``wanted`` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(wanted)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An operator's permission, as the registry keeps it: the digest of the secret, never the secret."""

    id: ApiKeyId
    digest: bytes
    name: str
    """Who, in the operator's words; unique to nobody."""
    role: Role
    created_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None = None

    def expired(self, now: datetime) -> bool:
        """Whether it permits nothing any more."""
        return now >= self.expires_at


@dataclass(frozen=True, slots=True)
class Operator:
    """A remote operator who has proved who that is."""

    key: ApiKeyId
    name: str
    role: Role

    @property
    def actor(self) -> str:
        """Whom the audit trail names: the key's public id, then the name it was made for."""
        return f"{self.key} {self.name}"


def api_key_id(secret: bytes) -> ApiKeyId:
    """The public id under which the key of ``secret`` is found."""
    return ApiKeyId("a" + digest(secret).hex()[:16])


def require_operator_name(name: str) -> str:
    """Return ``name`` if it fits into a record; raises InvalidSetting."""
    if _NAME.fullmatch(name) is None:
        detail = "it takes 1 to 64 letters, digits, spaces and . _ @ + -, with a letter or digit at both ends"
        raise InvalidSetting(setting="--name", detail=detail)
    return name


@dataclass(frozen=True, slots=True)
class ApiKeyWord:
    """What a remote operator needs: whom to trust, and the permission."""

    url: str
    """``https://host[:port]`` of the service."""
    fingerprint: bytes
    """SHA-256 of the root's DER, or empty for a public CA."""
    secret: bytes

    def __repr__(self) -> str:
        """Leave the secret out of logs and tracebacks."""
        return f"ApiKeyWord(url={self.url!r}, key={api_key_id(self.secret)})"

    def encode(self) -> str:
        """One URL-safe word: ``kba1.`` and base64url of fingerprint, secret, URL and a check."""
        body = bytes([len(self.fingerprint)]) + self.fingerprint + self.secret + self.url.encode()
        raw = base64.urlsafe_b64encode(body + _check(body))
        return WORD_PREFIX + raw.decode().rstrip("=")

    @staticmethod
    def decode(text: str) -> "ApiKeyWord":
        """Read a word; raises InvalidApiKey, which says whether it is cut short or something else."""
        word = text.strip()
        if not word.startswith(WORD_PREFIX):
            raise InvalidApiKey(detail=f"it does not start with `{WORD_PREFIX}`")
        if len(word) > MAX_WORD:
            raise InvalidApiKey(detail="it is too long")
        raw = _unb64(word.removeprefix(WORD_PREFIX))
        body, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
        if not body or not hmac.compare_digest(check, _check(body)):
            raise InvalidApiKey(detail="it is damaged or cut short")
        return _read_body(body)


def _read_body(body: bytes) -> ApiKeyWord:
    size = body[0]
    fingerprint, rest = body[1 : 1 + size], body[1 + size :]
    secret, url = rest[:SECRET_BYTES], rest[SECRET_BYTES:]
    if size not in (0, FINGERPRINT_BYTES) or len(secret) < SECRET_BYTES:
        raise InvalidApiKey(detail="it is damaged or cut short")
    try:
        return ApiKeyWord(require_service_url(url.decode()), fingerprint, secret)
    except (InvalidCode, UnicodeDecodeError):
        raise InvalidApiKey(detail="its URL makes no sense") from None


def find_word(text: str) -> ApiKeyWord:
    """The one API key in ``text``, which may be all that ``keyborn api-key create`` printed.

    Raises InvalidApiKey where there is none, or where there are several.
    """
    found = {word for word in text.split() if word.startswith(WORD_PREFIX)}
    if len(found) != 1:
        detail = "several different ones were read" if found else f"no word starts with `{WORD_PREFIX}`"
        raise InvalidApiKey(detail=detail)
    return ApiKeyWord.decode(found.pop())


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECK_BYTES]


def _unb64(text: str) -> bytes:
    """The bytes of a word; of several spellings of the same bytes only one is a word."""
    try:
        raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if base64.urlsafe_b64encode(raw).decode().rstrip("=") != text:
        raise InvalidApiKey(detail="it holds a character outside base64url, or is cut short")
    return raw
