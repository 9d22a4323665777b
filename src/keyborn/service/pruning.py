"""Forgetting what has been of no use for long, in steps so small that nobody who enrolls notices."""

import asyncio
from datetime import timedelta

from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import InvalidSetting
from keyborn.domain.moment import shown
from keyborn.domain.pruning import Pruned, retention
from keyborn.ports import Clock, Pruning

AT_ONCE = 100
"""Records of one transaction: a few milliseconds of the one writer."""
PAUSE = 0.01
"""Seconds between two transactions, which are the devices'."""
_STEPS = 50
"""Of one call of an operator's, which so ends within seconds."""


class PruneOffice:
    """Prunes for operators, and by itself."""

    def __init__(
        self, pruning: Pruning, clock: Clock, *, days: int = 0, pause: float = PAUSE, at_once: int = AT_ONCE
    ) -> None:
        """``days``: the retention where nobody says another; 0 is for ever."""
        self._pruning = pruning
        self._clock = clock
        self._days = days
        self._pause = pause
        self._at_once = at_once

    async def stretch(
        self, days: int | None = None, *, after: str | None = None, dry: bool = False, actor: str = "operator"
    ) -> Pruned:
        """Remove what ended more than ``days`` ago, for some steps; ``after`` as the stretch before said.

        ``dry`` only counts. Raises InvalidSetting for days that nobody has said, or that make no sense.
        """
        keep = self._keep(days)
        total = Pruned(after=after)
        for _ in range(_STEPS):
            total += await self._step(keep, total.after, dry=dry, actor=actor)
            if total.after is None:
                break
            await asyncio.sleep(self._pause)
        return total

    async def run(self, *, actor: str = "sweeper") -> Pruned:
        """Everything that is due by the service's own retention; nothing where there is none."""
        total = Pruned()
        while self._days:
            total += await self.stretch(after=total.after, actor=actor)
            if total.after is None:
                break
        return total

    def _keep(self, days: int | None) -> timedelta:
        wanted = self._days if days is None else days
        if days is None and not wanted:
            detail = "say how many days, for there is no retention_days in server.toml"
            raise InvalidSetting(setting="--older-than", detail=detail)
        return retention(wanted)

    async def _step(self, keep: timedelta, after: str | None, *, dry: bool, actor: str) -> Pruned:
        now = self._clock.now()
        before = now - keep
        if dry:
            return await self._pruning.due(before=before, after=after, limit=self._at_once)
        event = AuditEvent(now, "prune", "done", "registry", actor, details={"before": shown(before)})
        return await self._pruning.prune(event, before=before, after=after, limit=self._at_once)
