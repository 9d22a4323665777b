"""Callers who prove nothing: each neighborhood may fail so often, and the trail takes a trickle of them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import KeybornError, Throttled
from keyborn.ports import AuditTrail, Clock
from keyborn.service.admission import FailureBudget, LateRefusals, RecordBudget, neighborhood


class Strangers:
    """Counts and records the failures of those whose names nobody knows."""

    def __init__(
        self,
        audit: AuditTrail,
        clock: Clock,
        failures: FailureBudget | None = None,
        late: LateRefusals | None = None,
    ) -> None:
        """``failures`` of each address to prove itself; ``late``: how those beyond are told so.

        Without ``late`` they are told at once.
        """
        self._audit = audit
        self._clock = clock
        self._failures = failures or FailureBudget()
        self._late = late
        self._records = RecordBudget()
        self._troubles = RecordBudget()

    async def refused(
        self,
        action: str,
        source: str,
        refusal: KeybornError,
        subject: str = "",
        why: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Charge and record one; ``subject`` and ``why`` are what it said of itself, cut and cleaned.

        As long as there is room for it; the next record says how many had none. Raises Throttled.
        """
        now = self._clock.now()
        await self._charge(source, now)
        more = self._records.take(now)
        if more is not None:
            details = {**why, **({"more": str(more)} if more else {})}
            await self._audit.append(
                AuditEvent(now, action, refusal.code, subject, "unproved", source, details)
            )

    async def troubled(self, event: AuditEvent) -> None:
        """Record a trouble that is not the caller's, as long as there is room for it; charge nobody.

        Whoever waits for what is down comes again and again: a trickle of that tells the operator enough.
        """
        more = self._troubles.take(event.at)
        if more is not None:
            details = {**event.details, **({"more": str(more)} if more else {})}
            await self._audit.append(replace(event, details=details))

    async def failed(self, source: str) -> None:
        """Count a failure that is not worth a record. Raises Throttled."""
        await self._charge(source, self._clock.now())

    async def _charge(self, source: str, now: datetime) -> None:
        try:
            self._failures.charge(neighborhood(source), now)
        except Throttled:
            if self._late is not None:
                await self._late.hold()
            raise
