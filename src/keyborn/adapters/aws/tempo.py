"""How fast and how long the sweeper may work: AWS IoT's quotas are shared with those who enroll."""

import asyncio
import time

from keyborn.adapters.aws.calls import time_left


class Tempo:
    """Turns at an even pace, as long as there is time."""

    def __init__(self, per_second: float, *, reserve: float = 0.0) -> None:
        """``reserve``: seconds before the deadline of ``calls.within`` that are for something else."""
        self._step = 1 / per_second
        self._reserve = reserve
        self._next = 0.0

    async def turn(self) -> bool:
        """Wait for the next turn; False, at once, if it would come too late."""
        now = time.monotonic()
        begins = max(now, self._next)
        if begins - now > time_left() - self._reserve:
            return False
        self._next = begins + self._step
        await asyncio.sleep(begins - now)
        return True
