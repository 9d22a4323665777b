"""Group keys: one secret of a factory line, from which each device's own key is derived.

A device's key is HMAC-SHA-256 (RFC 2104) of its thing name under the group key. The device gets nothing but
that; it signs the enrolment with it (``jws_enroll``). So who opens one device has the key of one name, and
the group key itself travels nowhere: it lies where devices are made, and with the service.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field, replace
from datetime import datetime

from keyborn.domain.errors import InvalidCode, InvalidGroupKey
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.token import GROUP_KEY_PREFIX, CodeFacts, EnrollmentCode, TokenId

GROUP_KEY_BYTES = 32
_LABEL = b"keyborn device key\n"
_ID = re.compile(r"k[0-9a-f]{16}")


def group_key_id(key: bytes) -> TokenId:
    """``k`` and the first 16 hex characters of the key's SHA-256: public, as ``kid`` names it."""
    return TokenId("k" + hashlib.sha256(key).hexdigest()[:16])


def is_group_key_id(text: str) -> bool:
    """Whether a group key could have this id."""
    return _ID.fullmatch(text) is not None


def device_key(key: bytes, name: ThingName) -> bytes:
    """The key of the device that is to be ``name``: 32 bytes."""
    return hmac.digest(key, _LABEL + name.encode(), hashlib.sha256)


def sign(own: bytes, signing_input: bytes) -> bytes:
    """The signature of HS256 (RFC 7518, 3.2) by a device's key."""
    return hmac.digest(own, signing_input, hashlib.sha256)


def is_signed(own: bytes, signing_input: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is the one of HS256; compared in constant time."""
    return hmac.compare_digest(sign(own, signing_input), signature)


@dataclass(frozen=True, slots=True)
class GroupKey:
    """A group key with what a device has to be told: everything that enrolment codes are made of."""

    key: bytes = field(repr=False)
    group: GroupName
    url: str
    """Of the service."""
    fingerprint: bytes
    """SHA-256 of its root's DER, or empty for a public CA."""
    issued_at: datetime
    expires_at: datetime

    @property
    def id(self) -> TokenId:
        """Its public id."""
        return group_key_id(self.key)

    def code_for(self, name: ThingName) -> EnrollmentCode:
        """The enrolment code of the one device that is to be ``name``."""
        return replace(self._code(), secret=device_key(self.key, name))

    def encode(self) -> str:
        """One word that begins with ``kbg1.``: an enrolment code with the group key in it.

        Beginning and check differ from those of a code, so that no device ever takes it for its own.
        """
        return self._code().encode(GROUP_KEY_PREFIX)

    @staticmethod
    def decode(text: str) -> "GroupKey":
        """Read it; raises InvalidGroupKey."""
        try:
            code = EnrollmentCode.decode(text, GROUP_KEY_PREFIX)
        except InvalidCode as wrong:
            raise InvalidGroupKey(detail=wrong.facts["detail"]) from None
        facts = code.facts
        if facts is None or facts.key != group_key_id(code.secret):
            raise InvalidGroupKey(detail="its id is not the one of its key")
        return GroupKey(code.secret, facts.group, code.url, code.fingerprint, code.issued_at, code.expires_at)

    def _code(self) -> EnrollmentCode:
        facts = CodeFacts(Method.GROUP_KEY, self.group, self.id)
        return EnrollmentCode(self.url, self.fingerprint, self.key, self.issued_at, self.expires_at, facts)
