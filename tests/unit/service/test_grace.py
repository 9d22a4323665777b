"""Grace: for devices, for thirty days at most, recorded with its end; and no route where nothing renews."""

from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.errors import InvalidSetting, KindMismatch, NotFound, ThingRevoked
from keyborn.domain.thing import ThingKind, ThingStatus
from keyborn.http.admin import build_admin
from keyborn.http.admin_rows import thing_row
from keyborn.service.grace import GraceOffice
from keyborn.service.sealing import RandomSecrets
from keyborn.service.things import Order
from keyborn.wiring.use_cases import Offices
from support.office import OfficeWorld, folder
from support.registry_cases import Desk

DAY = timedelta(days=1)


class GraceWorld(OfficeWorld):
    """An office that grants grace."""

    def __init__(self, path: Path) -> None:
        memory = MemoryRegistry()
        super().__init__(path, memory)
        self.grace = GraceOffice(fleet=memory, grace=memory, clock=self.clock)


@pytest.fixture
async def world(tmp_path: Path) -> GraceWorld:
    world = GraceWorld(folder(tmp_path))
    await world.enrolled("sensor-1")
    return world


@pytest.mark.parametrize("span", [timedelta(seconds=1), 7 * DAY, 30 * DAY])
async def test_grace_is_granted_from_now_and_recorded(world: GraceWorld, span: timedelta) -> None:
    thing = await world.grace.grant("sensor-1", span, actor="somebody")
    until = world.clock.now() + span

    assert thing.grace_until == until
    assert thing_row(thing)["graceUntil"] == f"{until:%Y-%m-%dT%H:%M:%SZ}"
    last = (await world.registry.records())[-1].event
    assert (last.action, last.subject, last.actor) == ("thing.grace", "sensor-1", "somebody")
    assert last.details == {"until": f"{until:%Y-%m-%dT%H:%M:%SZ}"}


async def test_a_later_grant_takes_the_place_of_an_earlier_one(world: GraceWorld) -> None:
    await world.grace.grant("sensor-1", 30 * DAY)
    shorter = await world.grace.grant("sensor-1", DAY)
    assert shorter.grace_until == world.clock.now() + DAY


async def test_grace_ends_at_will_and_once(world: GraceWorld) -> None:
    await world.grace.grant("sensor-1", DAY)
    assert (await world.grace.grant("sensor-1", None)).grace_until is None
    records = await world.registry.records()
    assert records[-1].event.details == {}
    await world.grace.grant("sensor-1", None)
    assert await world.registry.records() == records


@pytest.mark.parametrize(
    "span", [timedelta(0), timedelta(seconds=-1), 30 * DAY + timedelta(seconds=1), timedelta.max]
)
async def test_a_span_that_is_nothing_or_too_much_is_refused(world: GraceWorld, span: timedelta) -> None:
    with pytest.raises(InvalidSetting, match="one second to 30 days"):
        await world.grace.grant("sensor-1", span)
    assert (await Desk(world.registry).thing("sensor-1")).grace_until is None


async def test_grace_is_for_devices_that_are_here(world: GraceWorld) -> None:
    with pytest.raises(NotFound):
        await world.grace.grant("sensor-9", DAY)
    desk = Desk(world.registry, now=world.clock.now())
    await desk.enroll(await desk.token("program", kind=ThingKind.SERVICE), "program-1", "k1")
    with pytest.raises(KindMismatch):
        await world.grace.grant("program-1", DAY)
    await world.things().carry_out(Order("sensor-1", ThingStatus.SUSPENDED))
    assert (await world.grace.grant("sensor-1", DAY)).status is ThingStatus.SUSPENDED
    await world.things().carry_out(Order("sensor-1", ThingStatus.RETIRED))
    with pytest.raises(ThingRevoked, match="retired"):
        await world.grace.grant("sensor-1", DAY)


@pytest.mark.parametrize("renews", [True, False])
def test_the_route_is_there_where_things_renew(world: GraceWorld, *, renews: bool) -> None:
    memory = MemoryRegistry()
    offices = Offices(memory, world.clock, RandomSecrets(SystemEntropy()), grace=memory if renews else None)
    office = offices.office(None, trust=lambda: ("", b""), authorities=tuple, about=dict)
    paths = {getattr(route, "path", "") for route in build_admin(office).routes}
    assert ("/v1/things/{name:path}/grace" in paths) is renews
