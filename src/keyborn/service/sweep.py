"""The sweeper: settles what crashed enrolments left behind, and only what Keyborn itself intended."""

from datetime import timedelta

from keyborn.domain.audit import AuditEvent
from keyborn.ports import Clock, Leftovers

HORIZON = timedelta(minutes=15)
"""How long an attempt may take before its leftovers are undone; far beyond any request's time limit."""


class Sweeper:
    """Drops open intents older than the horizon."""

    def __init__(self, *, leftovers: Leftovers, clock: Clock, horizon: timedelta = HORIZON) -> None:
        self._leftovers = leftovers
        self._clock = clock
        self._horizon = horizon

    async def sweep(self) -> int:
        """Undo what is overdue; returns how many intents were dropped."""
        now = self._clock.now()
        overdue = await self._leftovers.leftovers(before=now - self._horizon)
        dropped = 0
        for intent in overdue:
            event = AuditEvent(now, "sweep", "done", intent.thing, "sweeper", details={"intent": intent.id})
            dropped += await self._leftovers.drop(intent.id, event)
        return dropped
