"""The sweeper: settles what crashed enrolments left behind, and only what Keyborn itself intended.

So it does with successors that nobody confirmed: the predecessor stays.
"""

from datetime import timedelta

from keyborn.domain.audit import AuditEvent, withdrawal
from keyborn.domain.certificate import Certificate
from keyborn.domain.renewal import OVERLAP
from keyborn.ports import Clock, Leftovers, Sessions, Successors

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


class OverlapSweeper:
    """Withdraws successors that waited for longer than the overlap, and ends their sessions."""

    def __init__(
        self,
        *,
        successors: Successors,
        clock: Clock,
        sessions: Sessions | None = None,
        overlap: timedelta = OVERLAP,
    ) -> None:
        """``sessions`` is None where no broker runs: then nothing is open."""
        self._successors = successors
        self._clock = clock
        self._sessions = sessions
        self._overlap = overlap

    async def sweep(self) -> int:
        """Withdraw what is overdue; returns how many successors that were."""
        now = self._clock.now()
        late = await self._successors.overdue(before=now - self._overlap, at=now)
        gone = [one for one in late if await self._withdraw(one)]
        if gone and self._sessions is not None:
            await self._sessions.review({one.thing for one in gone})
        return len(gone)

    async def _withdraw(self, successor: Certificate) -> bool:
        reason = "unused" if successor.renews is None else "unconfirmed"
        event = withdrawal(successor, self._clock.now(), "sweeper", reason)
        return await self._successors.withdraw_successor(successor.id, event)
