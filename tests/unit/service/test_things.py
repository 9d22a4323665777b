"""Orders on things: the registry first, then what is open."""

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import (
    CertificateNotHeld,
    InvalidSetting,
    KindMismatch,
    NotFound,
    RegistryUnavailable,
    SessionLeftOpen,
    ThingRevoked,
)
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.thing import ThingKind, ThingStatus
from keyborn.service.things import Order, ThingOffice
from keyborn.service.tokens import TokenWish
from support.csr_make import make_csr
from support.office import OfficeWorld


@dataclass
class Broker:
    """Notes what it is told, and what the registry said at that moment."""

    world: OfficeWorld
    evicted: list[tuple[str, str, ThingStatus]] = field(default_factory=list)

    async def evict(self, name: ThingName, reason: str) -> int:
        thing = await self.world.registry.thing(name)
        assert thing is not None
        self.evicted.append((name, reason, thing.status))
        return 1

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        raise AssertionError("an order changes no policy")


@pytest.fixture
def broker(world: OfficeWorld) -> Broker:
    return Broker(world)


@pytest.fixture
def office(world: OfficeWorld, broker: Broker) -> ThingOffice:
    return world.things(broker)


@pytest.mark.parametrize("status", [ThingStatus.SUSPENDED, ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_what_is_open_is_closed_after_the_registry_says_so(
    world: OfficeWorld, office: ThingOffice, broker: Broker, status: ThingStatus
) -> None:
    await world.enrolled("sensor")
    done = await office.carry_out(Order("sensor", status))
    assert (done.thing.status, done.closed) == (status, 1)
    assert broker.evicted == [("sensor", f"the operator says {status}", status)]
    assert not await world.active("sensor")


class Deaf(Broker):
    """Cannot be reached."""

    async def evict(self, name: ThingName, reason: str) -> int:
        await super().evict(name, reason)
        raise SessionLeftOpen(thing=name, reason="no answer")


async def test_an_order_stands_though_a_session_could_not_be_closed_and_the_operator_is_told(
    world: OfficeWorld,
) -> None:
    await world.enrolled("sensor")
    done = await world.things(Deaf(world)).carry_out(Order("sensor", ThingStatus.REVOKED))
    assert (done.thing.status, done.closed) == (ThingStatus.REVOKED, 0)
    assert done.left_open is not None
    assert "sensor cannot connect again" in str(done.left_open)
    assert not await world.active("sensor")


async def test_activating_closes_nothing_and_gives_the_same_certificate_back(
    world: OfficeWorld, office: ThingOffice, broker: Broker
) -> None:
    _, _, certificate = await world.enrolled("sensor")
    await office.carry_out(Order("sensor", ThingStatus.SUSPENDED))
    done = await office.carry_out(Order("sensor", ThingStatus.ACTIVE))
    assert (done.thing.status, done.closed) == (ThingStatus.ACTIVE, 0)
    assert [each.id for each in await world.active("sensor")] == [certificate.id]
    assert len(broker.evicted) == 1


async def test_an_order_may_name_a_certificate_that_is_held(world: OfficeWorld, office: ThingOffice) -> None:
    _, _, certificate = await world.enrolled("sensor")
    for status in (ThingStatus.SUSPENDED, ThingStatus.ACTIVE, ThingStatus.REVOKED, ThingStatus.RETIRED):
        done = await office.carry_out(Order(certificate.id, status))
        assert done.thing.status is status
    trail = [record.event for record in await world.registry.records()]
    assert [event.details.get("certificateId") for event in trail[-4:]] == [certificate.id] * 4


async def test_a_certificate_that_was_replaced_does_not_stand_for_its_thing(
    world: OfficeWorld, office: ThingOffice
) -> None:
    _, _, old = await world.enrolled("sensor")
    token, (_, csr) = await world.token("sensor", replace=True), make_csr("sensor")
    new = (await world.enroll("sensor", csr, token)).certificate
    await world.registry.connected(new.id, world.clock.now())
    with pytest.raises(CertificateNotHeld):
        await office.carry_out(Order(old.id, ThingStatus.REVOKED))
    assert [each.id for each in await world.active("sensor")] == [new.id]


async def test_a_staged_successor_goes_with_its_thing(world: OfficeWorld, office: ThingOffice) -> None:
    await world.enrolled("sensor")
    token, (_, csr) = await world.token("sensor", replace=True), make_csr("sensor")
    await world.enroll("sensor", csr, token)
    assert len(await world.active("sensor")) == 2
    await office.carry_out(Order("sensor", ThingStatus.REVOKED))
    held = await world.registry.certificates(ThingName("sensor"))
    assert {each.status for each in held} == {CertificateStatus.REVOKED}


@pytest.mark.parametrize("name", ["nobody", "0" * 64, "", "a/b", "x" * 300])
async def test_what_is_not_there_is_not_found(office: ThingOffice, broker: Broker, name: str) -> None:
    with pytest.raises(NotFound):
        await office.carry_out(Order(name, ThingStatus.REVOKED))
    assert not broker.evicted


async def test_gone_is_gone(world: OfficeWorld, office: ThingOffice, broker: Broker) -> None:
    await world.enrolled("sensor")
    await office.carry_out(Order("sensor", ThingStatus.REVOKED))
    for status in (ThingStatus.ACTIVE, ThingStatus.SUSPENDED):
        with pytest.raises(ThingRevoked):
            await office.carry_out(Order("sensor", status))
    assert len(broker.evicted) == 1


async def test_a_repeated_order_evicts_again_and_records_nothing(
    world: OfficeWorld, office: ThingOffice, broker: Broker
) -> None:
    await world.enrolled("sensor")
    await office.carry_out(Order("sensor", ThingStatus.REVOKED))
    before = len(await world.outcomes())
    await office.carry_out(Order("sensor", ThingStatus.REVOKED))
    assert len(await world.outcomes()) == before
    assert len(broker.evicted) == 2


async def test_nothing_is_evicted_if_the_registry_could_not_write(world: OfficeWorld, broker: Broker) -> None:
    await world.enrolled("sensor")

    class Full:
        async def set_status(self, *_: object) -> None:
            raise RegistryUnavailable

    office = ThingOffice(
        fleet=world.registry,
        directory=world.registry,
        lifecycle=Full(),  # type: ignore[arg-type]  # it only fails
        sessions=broker,
        clock=world.clock,
    )
    with pytest.raises(RegistryUnavailable):
        await office.carry_out(Order("sensor", ThingStatus.REVOKED))
    assert not broker.evicted
    assert await world.active("sensor")


async def test_orders_work_where_no_broker_runs(world: OfficeWorld) -> None:
    await world.enrolled("sensor")
    office = world.things()
    done = await office.carry_out(Order("sensor", ThingStatus.SUSPENDED))
    assert (done.thing.status, done.closed) == (ThingStatus.SUSPENDED, 0)


async def test_a_service_is_not_revoked_as_a_thing_nor_a_thing_as_a_service(
    world: OfficeWorld, office: ThingOffice, broker: Broker
) -> None:
    await world.enrolled("sensor")
    token = await world.tokens.create(TokenWish(NameScope("dashboard"), kind=ThingKind.SERVICE))
    await world.enroll("dashboard", make_csr("dashboard")[1], token)
    for name, kind in (("dashboard", ThingKind.DEVICE), ("sensor", ThingKind.SERVICE)):
        with pytest.raises(KindMismatch) as refused:
            await office.carry_out(Order(name, ThingStatus.REVOKED, kind))
        assert name in str(refused.value)
    assert not broker.evicted
    done = await office.carry_out(Order("dashboard", ThingStatus.REVOKED, ThingKind.SERVICE))
    assert done.thing.status is ThingStatus.REVOKED
    assert (await world.registry.records())[-1].event.action == "service.revoke"


async def test_the_reason_is_in_the_trail(world: OfficeWorld, office: ThingOffice) -> None:
    await world.enrolled("sensor")
    await office.carry_out(Order("sensor", ThingStatus.RETIRED, reason="replaced on the roof"))
    event = (await world.registry.records())[-1].event
    assert (event.action, event.actor, dict(event.details)) == (
        "thing.retire",
        "operator",
        {"reason": "replaced on the roof"},
    )


@pytest.mark.parametrize("reason", ["x" * 257, "two\nlines", "\x1b[2J", "tab\there"])
def test_a_reason_that_is_no_line_of_text_is_refused(reason: str) -> None:
    with pytest.raises(InvalidSetting):
        Order("sensor", ThingStatus.REVOKED, reason=reason)


async def test_a_name_that_is_somebody_s_certificate_id_catches_no_order_meant_for_the_certificate(
    world: OfficeWorld, office: ThingOffice
) -> None:
    _, _, certificate = await world.enrolled("sensor")
    _, _, decoy = await world.enrolled(certificate.id)
    done = await office.carry_out(Order(certificate.id, ThingStatus.REVOKED))
    assert done.thing.name == "sensor"
    assert not await world.active("sensor")
    assert await world.active(certificate.id), "it is reached by its own certificate"
    assert str((await office.carry_out(Order(decoy.id, ThingStatus.REVOKED))).thing.name) == certificate.id


async def test_a_certificate_that_nobody_knows_is_answered_with_a_command_that_exists(
    office: ThingOffice,
) -> None:
    with pytest.raises(NotFound, match="keyborn thing list"):
        await office.carry_out(Order("0" * 64, ThingStatus.REVOKED))
