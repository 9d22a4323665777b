"""Whether an enrolment could be recorded now: tried for real, but not more often than once a second.

The question may be asked by anybody, as often as they like; it must not become a way to keep the disk busy.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from keyborn.domain.errors import Unavailable
from keyborn.ports import Clock

LASTS = timedelta(seconds=1)


class Readiness:
    """Asks the registry to write, and remembers the answer for a moment."""

    def __init__(self, prove: Callable[[datetime], Awaitable[None]], clock: Clock) -> None:
        """``prove`` writes something durable, or raises a leaf of Unavailable."""
        self._prove = prove
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked: datetime | None = None
        self._trouble: Unavailable | None = None

    async def check(self) -> None:
        """Return if the last try, at most a second old, worked; raises what it raised otherwise."""
        async with self._asking:
            now = self._clock.now()
            if self._asked is None or not timedelta(0) <= now - self._asked < LASTS:
                self._asked, self._trouble = now, await self._try(now)
        if self._trouble is not None:
            raise self._trouble

    async def _try(self, now: datetime) -> Unavailable | None:
        try:
            await self._prove(now)
        except Unavailable as trouble:
            return trouble
        return None
