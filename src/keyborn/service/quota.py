"""Admission under a quota that many instances share: who may enroll now, and when the others shall return.

Called after authentication. The turn of a device is kept under its name by the line, not by the device and
not by an instance: it may restart, come early, or be answered by somebody else each time. Slots that nobody
claims in turn are for whoever asks, so that places of devices that never return cost nothing.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import SystemRandom
from time import time
from typing import Protocol

from keyborn.domain.errors import (
    AwsConflict,
    AwsOutage,
    AwsThrottled,
    Queued,
    RegistryUnavailable,
    Unavailable,
)
from keyborn.domain.quota import Pacing, ceiling_of, hold_for, pause_before, pause_late, pause_unplaced
from keyborn.ports import AdmissionLine

_random = SystemRandom()
_CALM = 300.0
"""Places a second given by all instances together from which on each of them holds back."""
_FIRST_INTERVAL, _LONGEST_INTERVAL = 1.0, 8.0
_STOCK_KEPT = 5.0
_PASSING = (AwsThrottled, AwsConflict, AwsOutage, RegistryUnavailable)
"""What passes by waiting, and by that alone."""


class Quota(Protocol):
    """What the registration authority asks: a turn for each enrolment."""

    async def admit(self, who: str) -> None:
        """Return at the turn of ``who``; raises Queued with the time to return."""
        ...

    async def stock(self) -> None:
        """Prepare the next caller's turn, beside the work for this one. Raises nothing."""
        ...

    def give_back(self) -> None:
        """The last turn was not needed: it is for the next caller."""
        ...


class NoQuota:
    """A service of one's own: everybody's turn is now."""

    async def admit(self, who: str) -> None:
        """Return at once."""

    async def stock(self) -> None:
        """Do nothing."""

    def give_back(self) -> None:
        """Do nothing."""


class QuotaGate:
    """One instance's view of the line; what it knows of the others the line has told it."""

    def __init__(
        self,
        line: AdmissionLine,
        pacing: Pacing,
        *,
        seconds: Callable[[], float] = time,
        fraction: Callable[[], float] = _random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``seconds`` is Unix time, for instances compare theirs; ``fraction`` lies in [0, 1)."""
        self._line = line
        self._pacing = pacing
        self._seconds = seconds
        self._fraction = fraction
        self._sleep = sleep
        self._free_at = -math.inf  # neither of the two goes back, but from a wrong clock's: lower bounds
        self._end = -math.inf
        self._joined_at = 0.0
        self._joined_end = 0.0
        self._asked_at = -math.inf
        self._interval = 0.0
        self._stock_until = -math.inf
        self._proved = True

    async def admit(self, who: str) -> None:
        """Return when ``who`` may enroll, at most ``patience`` later; raises Queued with the time to return.

        ``who`` is the same at each return and nobody else's (``domain.quota.place_name``). Raises what an
        operator must mend, AwsRefused and its like, as it is.
        """
        now = self._seconds()
        self._proved = True
        if self._use_stock(now):
            return
        try:
            await self._admit(who, now)
        except _PASSING:  # throttled or out: nothing is known but that waiting helps
            raise self._away(2 + 8 * self._fraction()) from None

    async def ahead(self) -> None:
        """Take a slot ahead while it is looked up who asks; as ``stock``, which it then saves the caller.

        It may be a stranger. So it is done once for each caller that was proved, and strangers cost no slots
        beyond that one. An instance that has just begun has this much credit.
        """
        if self._proved:
            self._proved = False
            await self.stock()

    async def stock(self) -> None:
        """Take a slot ahead for the next caller of this instance, if one is spare; may run beside a claim.

        Raises nothing: without it the next caller takes one for itself.
        """
        now, cold = self._seconds(), math.isinf(self._free_at)
        if now < self._stock_until:
            return
        with suppress(Unavailable):
            if await self._take(now, now - self._pacing.spare) is not None:
                self._stock_until = now + _STOCK_KEPT
            elif cold:
                self._begin(now)

    def give_back(self) -> None:
        """The slot of the last caller brought no certificate: it is the next one's, as if taken ahead."""
        self._stock_until = self._seconds() + _STOCK_KEPT

    def _use_stock(self, now: float) -> bool:
        there = now < self._stock_until
        self._stock_until = -math.inf
        return there

    async def _admit(self, who: str, now: float) -> None:
        pacing = self._pacing
        cold = math.isinf(self._free_at)
        may_ask = not self._asked_at <= now < self._asked_at + self._interval  # nor if the clock went back
        if may_ask and await self._take(now, now - pacing.spare) is not None:
            return
        if cold:
            self._begin(now)
            may_ask = False
        due = await self._line.find(who, now)
        if due is None and not may_ask:
            raise self._away(pause_unplaced(pacing, self._end - now, self._fraction()))
        if due is None:
            due = await self._join(who, now)
        if due > now + pacing.patience:
            raise self._away(pause_before(pacing, due - now))
        begins = await self._take(now, now + hold_for(pacing, now - due))
        if begins is None:
            raise self._away(pause_late(pacing, now - due, self._fraction()))
        if begins > now:
            await self._sleep(begins - now)

    def _begin(self, now: float) -> None:
        """A thousand instances may begin in one moment: each asks the line one thing at first."""
        self._asked_at, self._interval = now, _FIRST_INTERVAL

    async def _take(self, now: float, latest: float) -> float | None:
        if latest < self._free_at <= ceiling_of(self._pacing, now):
            return None
        slice_ = await self._line.take(now, latest)
        known = self._free_at if self._free_at <= ceiling_of(self._pacing, now) else -math.inf
        self._free_at = max(known, slice_.free_at)
        self._end = max(self._end, slice_.end)
        return slice_.begins

    async def _join(self, who: str, now: float) -> float:
        """Give it a place. Each instance holds back while all of them together give places too fast."""
        place = await self._line.join(who, now)
        given = (place.end - max(self._joined_end, self._joined_at)) / self._pacing.place
        if given > _CALM * (now - self._joined_at):
            self._interval = min(_LONGEST_INTERVAL, max(_FIRST_INTERVAL, self._interval * 2))
        else:
            self._interval = self._interval / 2 if self._interval > self._pacing.slot else 0.0
        self._joined_at, self._joined_end = now, place.end
        self._asked_at, self._end = now, max(self._end, place.end)
        return place.due

    def _away(self, seconds: float) -> Queued:
        return Queued(seconds=math.ceil(seconds))
