"""Requests that wait for a person, and what the person compares.

A request is its group, thing name and key: with another key it is another request. So an approval can only be
for the key whose words were compared, and a request reserves nothing.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NewType

from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import ApprovalsFull, NotFound
from keyborn.domain.names import GroupName, KeyHash, ThingName

ApprovalId = NewType("ApprovalId", str)
"""``p`` and 16 hex characters of a hash of group, name and key; the first ten are the code's 40 bits."""

_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aiou"
_CODE = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no letter that is taken for another one."""
_CODE_BITS = 40
_CODE_BYTES = _CODE_BITS // 8
_MISREAD = str.maketrans("OIL", "011")
_WORDS = 4
_FULL_PAUSE = 60
"""Seconds after which somebody for whom there was no place may ask again."""


class ApprovalState(StrEnum):
    """Where a request stands; that it has expired is computed."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Approval:
    """One request, and what became of it."""

    id: ApprovalId
    group: GroupName
    thing: ThingName
    key_hash: KeyHash
    source: str
    """The address from which it was first asked."""
    asked_at: datetime
    expires_at: datetime
    """Of the request while it is pending, of the decision from then on."""
    replaces: bool = False
    """Whether another key had the name when it was asked: approving replaces that key."""
    state: ApprovalState = ApprovalState.PENDING
    decided_by: str = ""
    decided_at: datetime | None = None

    @property
    def code(self) -> str:
        """What the request is found by, as the device shows it: ``7K3M-9QXZ``."""
        return approval_code(self.group, self.thing, self.key_hash)

    def is_of(self, group: GroupName, thing: ThingName, key: KeyHash) -> bool:
        """Whether it is the request of just this group, name and key, whatever its id."""
        return (self.group, self.thing, self.key_hash) == (group, thing, key)

    @property
    def words(self) -> str:
        """What is compared with the device: four words of its key."""
        return key_words(self.key_hash)

    def expired(self, now: datetime) -> bool:
        """Whether it counts no more."""
        return now >= self.expires_at

    def waits(self, now: datetime) -> bool:
        """Whether a person has still to decide."""
        return self.state is ApprovalState.PENDING and not self.expired(now)


def admitted(known: Approval | None, wish: Approval, pending: int, most: int) -> Approval:
    """What is kept when ``wish`` is asked: ``known`` itself while it counts, whatever its state.

    ``pending`` is how many requests of the group wait. Raises ApprovalsFull for one more than ``most``.
    """
    if known is not None and not known.expired(wish.asked_at):
        return known
    if pending >= most:
        raise ApprovalsFull(seconds=_FULL_PAUSE)
    return wish


def decided(known: Approval, state: ApprovalState, until: datetime, event: AuditEvent) -> Approval:
    """What a person's word makes of a request; ``known`` itself if it says the same already.

    The last word counts. Raises NotFound for a request or a decision that has expired, and ValueError for
    ``pending``, which is no decision.
    """
    if state is ApprovalState.PENDING:
        raise ValueError("nobody decides that a request is pending")
    if known.expired(event.at):
        raise NotFound(what="approval", name=known.id)
    if known.state is state:
        return known
    return replace(known, state=state, expires_at=until, decided_by=event.actor, decided_at=event.at)


def approval_id(group: GroupName, thing: ThingName, key: KeyHash, *, replaces: bool = False) -> ApprovalId:
    """The id of the one request of this name and key.

    Of one that ``replaces`` another key it is another one, under the same code: who approved the first, has
    not approved the second.
    """
    digest = _digest(group, thing, key)
    own = digest[8:11] if replaces else digest[_CODE_BYTES:8]
    return ApprovalId("p" + (digest[:_CODE_BYTES] + own).hex())


def approval_code(group: GroupName, thing: ThingName, key: KeyHash) -> str:
    """40 bits of a hash, so that both sides can compute it; two groups of four characters."""
    number = int.from_bytes(_digest(group, thing, key)[:_CODE_BYTES])
    text = "".join(_CODE[number >> shift & 31] for shift in range(_CODE_BITS - 5, -1, -5))
    return f"{text[:4]}-{text[4:]}"


def code_prefix(typed: str) -> ApprovalId | None:
    """How the ids of all requests with this code begin; None for what is no code.

    Case and dashes do not matter, and a letter that is taken for a digit is that digit (Crockford's rule).
    """
    text = typed.upper().replace("-", "").translate(_MISREAD)
    if len(text) * 5 != _CODE_BITS or not set(text) <= set(_CODE):
        return None
    number = 0
    for each in text:
        number = number << 5 | _CODE.index(each)
    return ApprovalId("p" + number.to_bytes(_CODE_BYTES).hex())


def same_words(typed: str, key: KeyHash) -> bool:
    """Whether ``typed`` are the words of the key; case, spaces and dashes between them do not matter."""
    return typed.lower().replace("-", " ").split() == key_words(key).split("-")


def key_words(key: KeyHash) -> str:
    """64 bits of a key's hash as four words that can be read out (Wilkerson's proquints, arXiv:0901.4016).

    The device computes them from its own key, the operator's side from the key that would be signed.
    """
    raw = bytes.fromhex(key)
    return "-".join(_word(int.from_bytes(raw[2 * each : 2 * each + 2])) for each in range(_WORDS))


def _word(number: int) -> str:
    return (
        _CONSONANTS[number >> 12 & 15]
        + _VOWELS[number >> 10 & 3]
        + _CONSONANTS[number >> 6 & 15]
        + _VOWELS[number >> 4 & 3]
        + _CONSONANTS[number & 15]
    )


def _digest(group: GroupName, thing: ThingName, key: KeyHash) -> bytes:
    return hashlib.sha256(f"keyborn approval\n{group}\n{thing}\n{key}".encode()).digest()
