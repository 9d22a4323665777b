"""Troubles that are nobody's failure: the operator hears of them, and nobody is charged."""

from datetime import timedelta

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.audit import AuditEvent, AuditRecord
from keyborn.domain.errors import CredentialRefused
from keyborn.service.admission import FailureBudget
from keyborn.service.strangers import Strangers
from support.office import SOURCE, TurnedClock

BURST = 10


class World:
    """Strangers before one trail."""

    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.trail = MemoryRegistry()
        self.strangers = Strangers(self.trail, self.clock, FailureBudget(burst=1, per_minute=1))

    async def trouble(self) -> None:
        event = AuditEvent(
            self.clock.now(), "enroll", "webhook_unavailable", "s-1", "t1", SOURCE, {"detail": "it is down"}
        )
        await self.strangers.troubled(event)

    async def records(self) -> list[AuditRecord]:
        return list(await self.trail.records(limit=1000))


async def test_a_trouble_is_recorded_as_it_is() -> None:
    world = World()
    await world.trouble()
    [record] = await world.records()
    assert record.event.details == {"detail": "it is down"}
    assert (record.event.subject, record.event.actor) == ("s-1", "t1")


async def test_many_leave_a_trickle_which_says_how_many_there_were() -> None:
    world = World()
    for _ in range(30):
        await world.trouble()
    assert len(await world.records()) == BURST
    world.clock.turn(timedelta(seconds=10))
    await world.trouble()
    assert (await world.records())[-1].event.details == {"detail": "it is down", "more": "20"}


async def test_a_trouble_costs_its_caller_nothing() -> None:
    world = World()
    for _ in range(30):
        await world.trouble()
    await world.strangers.refused("enroll", SOURCE, CredentialRefused())  # its budget is of one


async def test_troubles_leave_the_room_of_strangers_to_them_and_the_other_way() -> None:
    world = World()
    for _ in range(30):
        await world.trouble()
    for number in range(30):
        await world.strangers.refused("enroll", f"192.0.2.{number}", CredentialRefused())
    outcomes = [each.event.outcome for each in await world.records()]
    assert outcomes == ["webhook_unavailable"] * BURST + ["credential_refused"] * BURST
