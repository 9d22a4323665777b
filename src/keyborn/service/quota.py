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
from keyborn.service.together import NOTHING

_random = SystemRandom()
_CALM = 300.0
"""Places a second given by all instances together from which on each of them holds back."""
_FIRST_INTERVAL, _LONGEST_INTERVAL = 1.0, 8.0
_KEPT = 5.0
"""Seconds that a slot is good for: for longer it would be one more beside those of the moment."""
_SOON = 4.0
"""Seconds after a claim on credit in which its caller may begin to wait for its slot: it waits six at most,
and then the function's time is nearly over (template, ``EnrollFunction``)."""
_PASSING = (AwsThrottled, AwsConflict, AwsOutage, RegistryUnavailable)
"""What passes by waiting, and by that alone."""


Confirm = Callable[[], Awaitable[None]]
"""Asks whether a caller may still stand in line; raises what refuses it."""


class Turn(Protocol):
    """One caller's turn to enroll."""

    def meanwhile(self) -> Awaitable[None]:
        """What can be done for it beside the claim (``together.NOTHING`` is nothing). Raises nothing."""
        ...

    async def demand(self) -> None:
        """Return when it has come, before anything is signed; raises Queued with the time to return."""
        ...

    def give_back(self) -> None:
        """It was not needed: it is for the next caller."""
        ...


class Quota(Protocol):
    """What the registration authority asks: a turn for each enrolment."""

    async def admit(self, who: str, confirm: Confirm) -> Turn:
        """A turn for ``who``, which may claim now; raises Queued with the time to return.

        ``confirm`` is awaited, and may refuse, before ``who`` takes or waits for what others may need.
        """
        ...


class NoQuota:
    """A service of one's own: everybody's turn is now. It is its own turn, too."""

    async def admit(self, who: str, confirm: Confirm) -> Turn:  # noqa: ARG002 - as the protocol has it
        """Return at once."""
        return self

    def meanwhile(self) -> Awaitable[None]:
        """Nothing."""
        return NOTHING

    async def demand(self) -> None:
        """Return at once."""

    def give_back(self) -> None:
        """Do nothing."""


class QuotaGate:
    """One instance's view of the line; what it knows of the others the line has told it.

    While nobody is known to wait, who comes may claim on credit: the slot is taken beside the claim, and
    demanded before anything is signed. So admission costs no round trip of its own. Once the line has told of
    others the order is strict: first the slot, then the claim.
    """

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
        self._kept_until = -math.inf
        self._failed_at = -math.inf

    async def admit(self, who: str, confirm: Confirm) -> "GateTurn":
        """A turn for ``who``: its own at the latest ``patience`` later, or on credit.

        ``who`` is the same at each return and nobody else's (``domain.quota.place_name``). Raises Queued with
        the time to return, and what an operator must mend, AwsRefused and its like, as it is.
        """
        now, kept_until = self._seconds(), self._kept_until
        self._kept_until = -math.inf
        if now < kept_until <= now + _KEPT:  # later ones are a wrong clock's
            return GateTurn(self, who, now, kept_until)
        if self._calm(now):
            return GateTurn(self, who, now, None)
        await confirm()
        return GateTurn(self, who, now, await self.wait(who))

    async def wait(self, who: str, since: float = math.inf) -> float:
        """Return when the turn of ``who`` has come, with how long the slot is good for; raises as ``admit``.

        ``since``: when it claimed on credit. Long ago there is no time left to wait: it comes again.
        """
        now = self._seconds()
        if now > since + _SOON:
            raise self._away(1 + 2 * self._fraction())
        try:
            return await self._admit(who, now) + _KEPT
        except _PASSING:  # throttled or out: nothing is known but that waiting helps
            raise self._away(2 + 8 * self._fraction()) from None

    async def pay(self) -> float | None:
        """Take a slot for who claims on credit, if one is spare: how long it is good for. Raises nothing.

        Where none was to be had there is no credit for a while, whatever the reason.
        """
        now, cold = self._seconds(), math.isinf(self._free_at)
        with suppress(Unavailable):
            begins = await self._take(now, now - self._pacing.spare)
            if begins is not None:
                return now + _KEPT
            if cold:
                self._begin(now)
        self._failed_at = now
        return None

    def keep(self, until: float) -> None:
        """A slot that brought no certificate is the next caller's of this instance, as long as it is good."""
        self._kept_until = until

    def _calm(self, now: float) -> bool:
        """Whether nobody is known to wait, and a slot was spare when the line was last met, or never met."""
        spare = max(self._free_at, self._end) <= now - self._pacing.spare
        failed = self._failed_at <= now < self._failed_at + _FIRST_INTERVAL
        return spare and not failed and self._may_ask(now)

    def _may_ask(self, now: float) -> bool:
        """Not while this instance holds back; a clock that went back does not hold it."""
        return not self._asked_at <= now < self._asked_at + self._interval

    async def _admit(self, who: str, now: float) -> float:
        """The moment at which its slot was had, or begins."""
        pacing = self._pacing
        cold = math.isinf(self._free_at)
        may_ask = self._may_ask(now)
        if may_ask and await self._take(now, now - pacing.spare) is not None:
            return now
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
        return max(now, begins)

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


class GateTurn:
    """A turn at a gate: paid with a slot, or still owed."""

    def __init__(self, gate: QuotaGate, who: str, since: float, until: float | None) -> None:
        """``until``: how long its slot is good for, Unix time; None: it owes one."""
        self._gate = gate
        self._who = who
        self._since = since
        self._until = until

    async def meanwhile(self) -> None:
        """Pay what is owed, if a slot is spare."""
        if self._until is None:
            self._until = await self._gate.pay()

    async def demand(self) -> None:
        """Return at once where it is paid; who owes waits or stands in line as everybody does."""
        if self._until is None:
            self._until = await self._gate.wait(self._who, self._since)

    def give_back(self) -> None:
        """The slot is the next caller's, for as long as it is good; there is none where none was paid."""
        if self._until is not None:
            self._gate.keep(self._until)
