"""What a registry may forget after a time, and what never.

May go: a certificate that no thing holds any more and that expired long ago; that somebody redeemed a token
which expired long ago; a request for approval that expired long ago. Stays for ever: keys and names that were
taken away (their tombstones), the audit trail, tokens themselves. Stays as long as it matters: a certificate
that has not expired, revoked or not, for whoever asks about it must hear so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import InvalidSetting

MIN_RETENTION = timedelta(days=1)
"""Shorter, and a clock that runs ahead could make somebody forget what is in use."""
MAX_RETENTION = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many records went, or would go; and where the next step goes on, None behind the last one."""

    certificates: int = 0
    redemptions: int = 0
    approvals: int = 0
    after: str | None = None

    @property
    def total(self) -> int:
        """All of them."""
        return self.certificates + self.redemptions + self.approvals

    @property
    def counts(self) -> Mapping[str, int]:
        """By kind."""
        return {
            "certificates": self.certificates,
            "redemptions": self.redemptions,
            "approvals": self.approvals,
        }

    def __add__(self, later: "Pruned") -> "Pruned":
        """Both; it goes on where the later one does."""
        return Pruned(
            self.certificates + later.certificates,
            self.redemptions + later.redemptions,
            self.approvals + later.approvals,
            later.after,
        )


def told(event: AuditEvent, pruned: Pruned) -> AuditEvent:
    """``event`` with the counts of what went."""
    counts = {kind: str(count) for kind, count in pruned.counts.items() if count}
    return replace(event, details=dict(event.details) | counts)


def retention(days: int) -> timedelta:
    """So many days; raises InvalidSetting."""
    if not MIN_RETENTION.days <= days <= MAX_RETENTION.days:
        span = f"it takes {MIN_RETENTION.days} to {MAX_RETENTION.days} days"
        raise InvalidSetting(setting="--older-than", detail=span)
    return timedelta(days=days)
