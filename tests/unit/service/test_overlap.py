"""The sweeper and successors: what nobody confirmed in time goes, and its open session with it."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import cast

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.certificate import Certificate
from keyborn.domain.names import ThingName
from keyborn.domain.renewal import OVERLAP
from keyborn.service.sweep import OverlapSweeper
from support.office import TurnedClock
from support.registry_cases import START
from support.renewing_cases import RenewingDesk

MINUTE = timedelta(minutes=1)


class Reviewed:
    """Sessions that remember whose badges were to be read again."""

    def __init__(self) -> None:
        self.names: list[Collection[ThingName] | None] = []

    async def evict(self, name: ThingName, reason: str) -> int:
        raise AssertionError(f"{name} was evicted: {reason}")

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        self.names.append(names)


@pytest.fixture
def desk() -> RenewingDesk:
    return RenewingDesk(MemoryRegistry())


def sweeper(desk: RenewingDesk, sessions: Reviewed | None = None) -> OverlapSweeper:
    clock = TurnedClock(desk.now)
    return OverlapSweeper(successors=desk.renewing, clock=clock, sessions=sessions)


async def test_a_week_is_not_too_long_and_a_minute_more_is(desk: RenewingDesk) -> None:
    first = await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    second = await desk.renew(first, "k2")
    sessions = Reviewed()

    desk.pass_time(OVERLAP)
    assert await sweeper(desk, sessions).sweep() == 0
    assert sessions.names == []
    desk.pass_time(MINUTE)
    assert await sweeper(desk, sessions).sweep() == 1
    assert sessions.names == [{"lamp-1"}]
    assert await desk.active("lamp-1") == [first]
    last = (await desk.registry.records())[-1].event
    assert (last.action, last.actor, last.subject, last.at) == (
        "renew.withdraw",
        "sweeper",
        "lamp-1",
        START + OVERLAP + MINUTE,
    )
    assert last.details["reason"] == "unconfirmed"
    assert last.details["certificateId"] == second.id
    assert await sweeper(desk, sessions).sweep() == 0


async def test_a_replacement_that_never_connected_goes_as_unused(desk: RenewingDesk) -> None:
    await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k2")
    desk.pass_time(OVERLAP + MINUTE)

    assert await sweeper(desk).sweep() == 1
    assert (await desk.registry.records())[-1].event.details["reason"] == "unused"


async def test_what_was_confirmed_between_question_and_answer_stays(desk: RenewingDesk) -> None:
    first = await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    second = await desk.renew(first, "k2")
    desk.pass_time(OVERLAP + MINUTE)
    late = await desk.overdue(OVERLAP)
    await desk.confirm(second)

    class Late(MemoryRegistry):
        """Answers with what was true a moment ago."""

        async def overdue(self, *, before: datetime, at: datetime, limit: int = 100) -> Sequence[Certificate]:
            return late

    slow = Late()
    slow._state = cast("MemoryRegistry", desk.registry)._state
    assert await OverlapSweeper(successors=slow, clock=TurnedClock(desk.now)).sweep() == 0
    assert len(await desk.active("lamp-1")) == 1
