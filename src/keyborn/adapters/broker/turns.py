"""Clients take turns: however many have sent however much, everything else gets its share of the loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

SLICE = 0.002
"""Seconds in one turn of the loop that go to packets, of all clients together."""


class Turns:
    """Who finds no time left waits behind those who wait already.

    An operator's order, a handshake or a ping takes a few turns of the loop: with ``seconds`` for each, none
    of them has to sit out what busy clients have sent. One packet is never cut in two.
    """

    def __init__(self, seconds: float = SLICE, now: Callable[[], float] = perf_counter) -> None:
        self._seconds = seconds
        self._now = now
        self._ends: float | None = None
        self._waiting: deque[Callable[[], None]] = deque()

    def left(self) -> bool:
        """Whether there is time for one more packet in this turn of the loop."""
        now = self._now()
        if self._ends is None:
            self._ends = now + self._seconds
            asyncio.get_running_loop().call_soon(self._next)
        return now < self._ends

    def wait(self, work: Callable[[], None]) -> None:
        """Call ``work`` in a later turn."""
        self._waiting.append(work)

    def _next(self) -> None:
        """A new turn begins, with those who have waited longest."""
        self._ends = None
        while self._waiting and self.left():
            self._waiting.popleft()()
