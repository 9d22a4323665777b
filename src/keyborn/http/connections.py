"""What all connections of a server share: who is there, what runs, the time, and whether it is the end."""

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyborn.http.protocol import GuardedProtocol

_OFTEN = 0.5
"""Seconds between two looks at the deadlines, at most: so much later than due a connection may be closed."""


class Connections:
    """The connections of one server, and one clock for all of their deadlines.

    A timer for each connection would be set and cancelled three times a request; a look at ten thousand
    numbers twice a second costs a thousandth of a processor.
    """

    def __init__(self, shortest: float, count: Callable[[], None] | None = None) -> None:
        """``shortest`` of the limits, in seconds: the looks are frequent enough for it.

        ``count`` is called for each answer.
        """
        self._count = count
        self.open: set[GuardedProtocol] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.accepted = self.made = 0
        """Connections since the start, and those of them whose handshake, where there is one, is done."""
        self.requests = 0
        """How many have been answered."""
        self.state: dict[str, Any] = {"stopping": False}
        """The ASGI ``state`` of every request."""
        self.date_line = b""
        """The Date header of every answer."""
        self._every = min(_OFTEN, shortest / 8)
        self._told = 0
        self.tell_date()

    def answered(self) -> None:
        """One more has been answered."""
        self.requests += 1
        if self._count is not None:
            self._count()

    @property
    def stopping(self) -> bool:
        """Whether every answer from now on is its connection's last."""
        return bool(self.state["stopping"])

    async def keep_time(self, also: Callable[[float], None]) -> None:
        """Refuse who is late, and keep the Date header; until cancelled. ``also`` is told the time, too."""
        loop = asyncio.get_running_loop()
        while True:
            self.tell_date()
            self.sweep(loop.time())
            also(loop.time())
            await asyncio.sleep(self._every)

    def sweep(self, now: float) -> None:
        """Close what is past its deadline; ``now`` by the loop's clock."""
        for each in [each for each in self.open if each.due <= now or each.stalled <= now]:
            each.expire(now)

    def make_room(self, wanted: int) -> None:
        """Close up to ``wanted`` connections that have had an answer and ask for nothing, the oldest first.

        Holding them costs their callers nothing; whoever comes in earnest is not to wait for that.
        """
        idle = (each for each in self.open if each.idle)
        for each in nsmallest(wanted, idle, key=lambda each: each.due):
            self.open.discard(each)
            each.abort()

    def tell_date(self) -> None:
        """Make the Date header anew, if the second is another one."""
        now = int(time.time())
        if now != self._told:
            self._told = now
            self.date_line = b"date: " + formatdate(now, usegmt=True).encode() + b"\r\n"
