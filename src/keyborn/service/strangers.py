"""Callers who prove nothing: each address may fail so often, and the trail takes a trickle of them."""

from collections.abc import Mapping
from types import MappingProxyType

from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import KeybornError
from keyborn.ports import AuditTrail, Clock
from keyborn.service.admission import FailureBudget, RecordBudget


class Strangers:
    """Counts and records the failures of those whose names nobody knows."""

    def __init__(self, audit: AuditTrail, clock: Clock, failures: FailureBudget | None = None) -> None:
        """``failures`` of each address to prove itself."""
        self._audit = audit
        self._clock = clock
        self._failures = failures or FailureBudget()
        self._records = RecordBudget()

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
        self._failures.charge(source, now)
        more = self._records.take(now)
        if more is not None:
            details = {**why, **({"more": str(more)} if more else {})}
            await self._audit.append(
                AuditEvent(now, action, refusal.code, subject, "unproved", source, details)
            )

    def failed(self, source: str) -> None:
        """Count a failure that is not worth a record. Raises Throttled."""
        self._failures.charge(source, self._clock.now())
