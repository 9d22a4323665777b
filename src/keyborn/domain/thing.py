"""The thing: the record of a device in the registry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from keyborn.domain.names import KeyHash, ThingName


class ThingStatus(StrEnum):
    """Where a thing stands; ``claimed`` is before its first certificate is active."""

    CLAIMED = "claimed"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    RETIRED = "retired"

    @property
    def is_gone(self) -> bool:
        """Whether a tombstone stands for this name."""
        return self in (ThingStatus.REVOKED, ThingStatus.RETIRED)


@dataclass(frozen=True, slots=True)
class Thing:
    """One device's record. A name is bound to the key that claimed it."""

    name: ThingName
    status: ThingStatus
    key_hash: KeyHash
    """The key that owns the name now."""
    created_at: datetime
    attributes: Mapping[str, str] = field(default_factory=dict)
