"""Whether workers still do anything: one that hangs is ended, so that another one takes its place.

A worker that dies ends its line, which is heard at once. One that is stopped or turns in a circle keeps its
line, its connections, and its part of the new ones, and answers none of them.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from keyborn.adapters.workers.calls import BY_NAME
from keyborn.adapters.workers.nursery import Place
from keyborn.domain.errors import KeybornError

EVERY, PATIENCE = 1.0, 4.0
"""Seconds between two rounds, and for one answer."""
_MISSES = 2
"""In a row: after a pause of the whole machine the first answer may come too late for the clock."""
_log = logging.getLogger("keyborn.workers")


class Pulse:
    """Asks the workers in ``places`` for a sign of life, and has ``kill`` end those that give none."""

    def __init__(
        self,
        places: Sequence[Place],
        kill: Callable[[Place], None],
        beginning: float,
        patience: float = PATIENCE,
    ) -> None:
        """``beginning``: seconds after which a worker has to serve; ``patience``: for one answer."""
        self._places = places
        self._kill = kill
        self._beginning = beginning
        self._patience = patience
        self._missed: Counter[int] = Counter()
        """Answers in a row that processes have not given."""

    async def keep(self) -> None:
        """Ask for ever."""
        while True:
            await asyncio.sleep(EVERY)
            await self.round()

    async def round(self) -> None:
        """Ask each of them once."""
        here = {place.process.pid for place in self._places if place.process is not None}
        self._missed = Counter({pid: count for pid, count in self._missed.items() if pid in here})
        await asyncio.gather(*map(self._feel, self._places))

    async def _feel(self, place: Place) -> None:
        process, line = place.process, place.line
        if process is None or line is None:
            return
        if not place.ready:
            if asyncio.get_running_loop().time() - place.began > self._beginning:
                self._end(place, "does not begin")
            return
        try:
            async with asyncio.timeout(self._patience):
                await line.ask(BY_NAME["alive"])
        except KeybornError:  # the line has ended, and its end is heard elsewhere
            return
        except TimeoutError:
            self._missed[process.pid] += 1
            if self._missed[process.pid] >= _MISSES and place.process is process:
                self._end(place, "gives no sign of life")
        else:
            del self._missed[process.pid]

    def _end(self, place: Place, why: str) -> None:
        _log.error("worker %d %s: it is ended", place.number, why)
        self._kill(place)
