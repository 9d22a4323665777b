"""The sweeper's look at who has connected: the first connection ends a handover, and an answer's repeats.

Nothing of what a device chose is read: not the client id, not the topic. AWS IoT names the certificate.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from secrets import token_hex

from keyborn.adapters.aws.calls import time_left
from keyborn.adapters.aws.errors import in_short
from keyborn.adapters.aws.table import DynamoRegistry, Sighting
from keyborn.domain.errors import NotFound, Unavailable
from keyborn.ports import Clock

PAGE = 100
"""Connections that are read, and struck off, at a time: the certificates of as many are one snapshot."""


class Presence:
    """Carries out what connections mean. What AWS IoT then owes is in the table."""

    def __init__(self, registry: DynamoRegistry, clock: Clock, *, reserve: float) -> None:
        """``reserve``: seconds before the deadline of ``calls.within`` that are for something else."""
        self._registry = registry
        self._clock = clock
        self._reserve = reserve

    async def look(self, trouble: Callable[[str], None]) -> bool:
        """Carry out all that was put down, as far as there is time; whether that was all.

        What fails stays for the next run, and ``trouble`` is told of it, in short. Raises leaves of
        Unavailable where nothing can be read.
        """
        async for page in self._pages():
            if time_left() < self._reserve:
                return False
            failed = await self._carry_out(page, trouble)
            await asyncio.gather(*(self._registry.strike(one) for one in page if one not in failed))
            if failed:
                return False
        return True

    async def _pages(self) -> AsyncIterator[Sequence[Sighting]]:
        """From somewhere, once around: where more connect than there is time for, none is always the last."""
        start = token_hex(2)
        mark, around = start, False
        while True:
            found = await self._registry.sightings(after=mark, limit=PAGE)
            page = [one for one in found if not around or one.mark <= start]
            if page:
                yield page
                mark = page[-1].mark
            elif around:
                return
            else:
                mark, around = "", True

    async def _carry_out(self, page: Sequence[Sighting], trouble: Callable[[str], None]) -> set[Sighting]:
        """Which ones failed."""
        failed: set[Sighting] = set()
        for one in await self._registry.news(page):
            try:
                await self._connected(one)
            except Unavailable as why:
                trouble(in_short(why))
                failed.add(one)
        return failed

    async def _connected(self, one: Sighting) -> None:
        now = self._clock.now()
        at = min(one.at or now, now)
        if one.certificate is not None:
            with suppress(NotFound):  # it was known a moment ago
                await self._registry.connected(one.certificate, at)
