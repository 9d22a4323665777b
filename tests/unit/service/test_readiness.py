import asyncio
from datetime import datetime, timedelta

import pytest

from keyborn.domain.errors import RegistryUnavailable
from keyborn.service.readiness import Readiness
from support.office import TurnedClock


class Disk:
    """Counts writes, and may be full."""

    def __init__(self) -> None:
        self.writes = 0
        self.full = False

    async def prove(self, _at: datetime) -> None:
        self.writes += 1
        await asyncio.sleep(0)
        if self.full:
            raise RegistryUnavailable


async def test_ready_means_that_a_write_worked() -> None:
    disk = Disk()
    await Readiness(disk.prove, TurnedClock()).check()
    assert disk.writes == 1


async def test_a_full_disk_is_not_ready_and_comes_back_by_itself() -> None:
    disk, clock = Disk(), TurnedClock()
    readiness = Readiness(disk.prove, clock)
    disk.full = True
    for _ in range(3):
        with pytest.raises(RegistryUnavailable):
            await readiness.check()
    disk.full = False
    clock.turn(timedelta(seconds=1))
    await readiness.check()


async def test_a_thousand_questions_in_one_second_cost_one_write() -> None:
    disk = Disk()
    readiness = Readiness(disk.prove, TurnedClock())
    await asyncio.gather(*(readiness.check() for _ in range(1000)))
    assert disk.writes == 1


async def test_a_clock_that_goes_back_asks_again() -> None:
    disk, clock = Disk(), TurnedClock()
    readiness = Readiness(disk.prove, clock)
    await readiness.check()
    clock.turn(timedelta(days=-1))
    await readiness.check()
    assert disk.writes == 2
