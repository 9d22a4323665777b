"""How many enrolments run at once, how often one source may fail, and how much of strangers is recorded.

Order matters (design PROTOCOL "Refusing well"): a slot is taken after authentication, never before, and the
failure budget is charged only by failures, so that nobody locks out a neighbour behind the same NAT.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from random import SystemRandom

from keyborn.domain.errors import Overloaded, Throttled
from keyborn.service.errands import standing_in_line

_random = SystemRandom()

_SOONEST, _USUAL, _LATEST = 1, 4, 30
"""Seconds after which whoever is refused comes again, at random: at least, of a few, of a crowd."""
_WEIGHT = 1 / 16
"""Of the newest among the times that requests take."""
SLOTS = 64
"""Enrolments that run at once."""


class Admission:
    """A bounded number of slots and a bounded queue before them."""

    def __init__(
        self,
        *,
        slots: int = SLOTS,
        waiting: int = 2000,
        patience: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``patience`` in seconds; ``waiting`` counts callers beyond the slots."""
        self._away = _Away(monotonic)
        self._slots_in_all = slots
        self._slots = asyncio.Semaphore(slots)
        self._waiting = 0
        self._most_waiting = waiting
        self._patience = patience

    @property
    def waiting(self) -> int:
        """How many callers wait for a slot."""
        return self._waiting

    @property
    def is_crowded(self) -> bool:
        """Whether as many wait as there are slots: the next ones have nothing to do yet."""
        return self._waiting >= self._slots_in_all

    def slot(self) -> "Admission":
        """To be entered: holds one slot; raises Overloaded when the queue is full or the wait too long."""
        return self

    async def __aenter__(self) -> None:
        if self._slots.locked():
            await self._wait()
        else:
            await self._slots.acquire()

    async def __aexit__(self, *_raised: object) -> None:
        self._slots.release()
        self._away.served(others_wait=self._waiting > 0)

    async def _wait(self) -> None:
        """Stand in line; whoever has left by then has it called off."""
        if self._waiting >= self._most_waiting:
            raise self._away.refusal()
        self._waiting += 1
        try:
            with standing_in_line():
                async with asyncio.timeout(self._patience):
                    await self._slots.acquire()
        except TimeoutError:
            raise self._away.refusal() from None
        finally:
            self._waiting -= 1


class _Away:
    """Those who were told to come again: for how long they would keep the slots busy."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._count = 0
        self._each = 0.0
        """Seconds between two that are done while others wait."""
        self._last: float | None = None
        """When one was done, if others waited then."""

    def served(self, *, others_wait: bool) -> None:
        """One is done."""
        now = self._monotonic()
        if self._last is not None:
            self._each += (now - self._last - self._each) * _WEIGHT
        self._last = now if others_wait else None
        self._count = max(0, self._count - 1)

    def refusal(self) -> Overloaded:
        """Come back, but not all at once, and the more of you, the later."""
        self._count += 1
        latest = min(max(round(self._count * self._each), _USUAL), _LATEST)
        return Overloaded(seconds=_random.randint(_SOONEST, latest))


class FailureBudget:
    """A token bucket of failures per source; memory is bounded by forgetting the source seen longest ago."""

    def __init__(self, *, burst: int = 20, per_minute: float = 20.0, sources: int = 10_000) -> None:
        self._burst = float(burst)
        self._per_second = per_minute / 60
        self._sources = sources
        self._left: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def charge(self, source: str, now: datetime) -> None:
        """Count one failure; raises Throttled when the source has none left."""
        left, since = self._left.pop(source, (self._burst, now))
        refilled = min(self._burst, left + max(0.0, (now - since).total_seconds()) * self._per_second)
        self._left[source] = (max(0.0, refilled - 1), now)
        if len(self._left) > self._sources:
            self._left.popitem(last=False)
        if refilled < 1:
            raise Throttled(seconds=max(1, round((1 - refilled) / self._per_second)))


def neighborhood(source: str) -> str:
    """Whose failures count together: an IPv4 address, or the 64 bits of an IPv6 network.

    One subscriber has at least a /64 (RFC 6177), and with it more addresses than anybody could remember.
    """
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if not isinstance(address, IPv6Address) or address.ipv4_mapped is not None:
        return str(getattr(address, "ipv4_mapped", None) or address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


class LateRefusals:
    """Gives refusals late to who has had too many: that, and not a lock, is what slows guessing down.

    Not where somebody pays for each second that a request takes.
    """

    def __init__(
        self,
        *,
        most: int = 1000,
        longest: float = 2.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        fraction: Callable[[], float] = _random.random,
    ) -> None:
        """``most`` held back at once: more are given at once, for holding costs memory.

        ``longest`` in seconds, and half of it on average: so many guesses at once do not all come back at
        once. ``fraction`` lies in [0, 1).
        """
        self._most = most
        self._longest = longest
        self._sleep = sleep
        self._fraction = fraction
        self._held = 0

    async def hold(self) -> None:
        """Return late, if there is room."""
        if self._held >= self._most:
            return
        self._held += 1
        try:
            await self._sleep(self._longest * self._fraction())
        finally:
            self._held -= 1


class RecordBudget:
    """A token bucket of records of callers who proved nothing, whatever their addresses.

    A record stays for ever, and a stranger has any number of addresses: what is beyond is counted only.
    """

    def __init__(self, *, burst: int = 10, per_minute: float = 6.0) -> None:
        self._burst = float(burst)
        self._per_second = per_minute / 60
        self._left = self._burst
        self._since: datetime | None = None
        self._unrecorded = 0

    def take(self, now: datetime) -> int | None:
        """Whether there is room for one: how many had none since the last one that did; None: no room."""
        elapsed = 0.0 if self._since is None else (now - self._since).total_seconds()
        self._left = min(self._burst, self._left + max(0.0, elapsed) * self._per_second)
        self._since = now
        if self._left < 1:
            self._unrecorded += 1
            return None
        self._left -= 1
        more, self._unrecorded = self._unrecorded, 0
        return more
