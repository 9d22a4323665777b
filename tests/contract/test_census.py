"""A registry counts itself: the same numbers wherever it can."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import RegistryUnavailable
from keyborn.domain.thing import ThingStatus
from keyborn.service.figures import DAYS_LEFT
from support.registry_cases import LIFETIME, Desk

Counting = MemoryRegistry | SqliteRegistry
DAY = timedelta(days=1)


@pytest.fixture(params=["memory", "sqlite"])
async def counting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Counting]:
    if request.param == "memory":
        yield MemoryRegistry()
        return
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        yield registry


async def test_nothing_is_counted_as_nothing_of_every_kind(counting: Counting) -> None:
    counted = await counting.census(Desk(counting).now)

    assert not any([*counted.things.values(), *counted.certificates.values(), *counted.days_left.values()])
    assert [counted.within(days) for days in DAYS_LEFT] == [0, 0, 0, 0]


async def test_everything_is_counted_where_it_stands(counting: Counting) -> None:
    desk = Desk(counting)
    token = await desk.token("t")
    for number, status in enumerate(
        [
            ThingStatus.SUSPENDED,
            ThingStatus.REVOKED,
            ThingStatus.RETIRED,
            ThingStatus.RETIRED,
            None,
            None,
            None,
        ]
    ):
        await desk.enroll(token, f"lamp-{number}", f"k{number}")
        if status is not None:
            await desk.order(f"lamp-{number}", status)
    await desk.claim(token, "lamp-8", "k8")
    await desk.stored(token, "lamp-9", "k9")

    counted = await counting.census(desk.now)

    assert {status: count for status, count in counted.things.items() if count} == {
        ThingStatus.CLAIMED: 2,
        ThingStatus.ACTIVE: 3,
        ThingStatus.SUSPENDED: 1,
        ThingStatus.REVOKED: 1,
        ThingStatus.RETIRED: 2,
    }
    assert counted.certificates == {
        CertificateStatus.INACTIVE: 2,
        CertificateStatus.ACTIVE: 3,
        CertificateStatus.REVOKED: 3,
    }


async def test_days_left_are_of_active_certificates_and_include_those_before(counting: Counting) -> None:
    desk = Desk(counting)
    token = await desk.token("t", ttl=timedelta(days=200))
    began = desk.now
    for day in (0, 10, 70, 100):
        desk.now = began + day * DAY
        await desk.enroll(token, f"lamp-{day}", f"k{day}")
    await desk.order("lamp-100", ThingStatus.REVOKED)
    end = began + LIFETIME

    async def _left(at: timedelta) -> list[int]:
        counted = await counting.census(end + at)
        return [counted.within(days) for days in DAYS_LEFT]

    assert await _left(-DAY) == [0, 1, 2, 3]
    assert await _left(timedelta()) == [0, 1, 2, 3], "who ends today has not ended, by the calendar"
    assert await _left(DAY) == [1, 1, 2, 3]
    assert await _left(4 * DAY) == [1, 2, 2, 3]
    assert await _left(71 * DAY) == [3, 3, 3, 3]


async def test_a_closed_registry_says_that_it_cannot_count(tmp_path: Path) -> None:
    registry = SqliteRegistry(tmp_path / "registry.db")
    async with registry:
        pass
    with pytest.raises(RegistryUnavailable):
        await registry.census(Desk(registry).now)
