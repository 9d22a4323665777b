"""A fuse for what may be slow or dead: so many at a time, and none at all for some seconds after failures.

Each name has its own, so that one that fails harms no other. What is kept is little, and bounded.
"""

import math
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyborn.ports import Clock
from keyborn.service.admission import SLOTS

MOST_RUNNING = SLOTS // 2
"""Of one name: what is slow leaves as many places of the whole service to everybody else."""
MOST_FAILURES = 5
"""In a row; then nobody is let through for ``PAUSE``, and after that one, to see."""
PAUSE = timedelta(seconds=10)
MOST_NAMES = 1024
"""Kept of those that fail and are not asked at this moment."""


class Blown(Exception):
    """Not now; ``seconds`` until it is worth another try."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Failed(Exception):
    """Raised inside the fuse, or a subclass of it: counts as a failure of what is behind."""


@dataclass(slots=True)
class _Fuse:
    running: int = 0
    failures: int = 0
    until: datetime | None = None
    """Nobody is let through before; after it, one at a time until one succeeds."""


class Circuit:
    """Fuses by name."""

    def __init__(self, clock: Clock, *, most_running: int = MOST_RUNNING) -> None:
        self._clock = clock
        self._most = most_running
        self._fuses: OrderedDict[str, _Fuse] = OrderedDict()

    @asynccontextmanager
    async def through(self, name: str) -> AsyncIterator[None]:
        """Hold a place while asking ``name``. Raises Blown where there is none; ``Failed`` passes through."""
        fuse = self._fuses.setdefault(name, _Fuse())
        self._require(fuse)
        fuse.running += 1
        try:
            yield
        except Failed:
            self._count(fuse)
            raise
        else:
            fuse.failures, fuse.until = 0, None
        finally:
            fuse.running -= 1
            self._forget(name, fuse)

    def _require(self, fuse: _Fuse) -> None:
        if fuse.until is not None:
            left = (fuse.until - self._clock.now()).total_seconds()
            if 0 < left <= PAUSE.total_seconds():
                raise Blown(math.ceil(left))
            if fuse.running:
                raise Blown(1)
        if fuse.running >= self._most:
            raise Blown(1)

    def _count(self, fuse: _Fuse) -> None:
        fuse.failures += 1
        if fuse.failures >= MOST_FAILURES:
            fuse.until = self._clock.now() + PAUSE

    def _forget(self, name: str, fuse: _Fuse) -> None:
        """What has nothing to remember; and of what has, the oldest where there are too many."""
        if not fuse.running and not fuse.failures:
            self._fuses.pop(name, None)
        while len(self._fuses) > MOST_NAMES:
            oldest = next((key for key, each in self._fuses.items() if not each.running), None)
            if oldest is None:
                return
            del self._fuses[oldest]
