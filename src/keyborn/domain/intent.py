"""The intent: what will be signed, written down before it is signed.

Boulder's habit: store what will be signed, sign, compare. A crash after the intent leaves at most an inactive
leftover that the next attempt or the sweeper settles.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from keyborn.domain.certificate import Slot
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.domain.token import TokenId

IntentId = NewType("IntentId", str)


@dataclass(frozen=True, slots=True)
class Intent:
    """One certificate that may be signed: for this thing and key, on this permission, with these contents."""

    id: IntentId
    thing: ThingName
    key_hash: KeyHash
    token: TokenId
    created_at: datetime
    serial: int
    """Positive, at most 20 octets (RFC 5280 4.1.2.2), with 64 bits or more that nobody can guess."""
    not_before: datetime
    not_after: datetime
    slot: Slot = Slot.CURRENT
    renews: CertificateId | None = None
    """The certificate whose key asked, for a renewal: there is no token then, and ``token`` is empty."""
