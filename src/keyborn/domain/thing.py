"""The thing: the record of a device in the registry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.names import GroupName, KeyHash, ThingName


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


class ThingKind(StrEnum):
    """What stands behind a record: a device, or a program that has a broker identity (a service).

    Both share one space of names and one enrolment; the thing variables of access policies resolve for
    devices alone.
    """

    DEVICE = "device"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Thing:
    """One device's or service's record. A name is bound to the key that claimed it."""

    name: ThingName
    status: ThingStatus
    key_hash: KeyHash
    """The key that owns the name now."""
    created_at: datetime
    attributes: Mapping[str, str] = field(default_factory=dict)
    kind: ThingKind = ThingKind.DEVICE
    policies: tuple[PolicyName, ...] | None = None
    """Access policies attached to it; None is the default policy, empty is none at all."""
    grace_until: datetime | None = None
    """Until then an expired certificate may still renew, with its own key; an operator's grant."""
    group: GroupName | None = None
    """The enrolment group whose rule counts for it: where it enrolled, or was moved to."""
    thing_type: str | None = None
    """What it is, in the operator's words."""
    release_until: datetime | None = None
    """Until then whoever may enrol under its name may bring another key; an operator's grant, for once."""

    def is_released(self, now: datetime) -> bool:
        """Whether another key may be brought."""
        return self.release_until is not None and now < self.release_until
