"""Renewals live as long as the thing's group says today, whatever it said when the thing enrolled."""

from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate
from keyborn.domain.group import GroupDocument
from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.profile import BACKDATE, DEFAULT_DEVICE_LIFETIME
from keyborn.service.groups import GroupOffice, GroupPorts
from keyborn.service.lifetimes import GroupLifetimes
from keyborn.service.nonces import MemoryNonces
from keyborn.service.regroup import RegroupOffice
from keyborn.service.renew import RenewalAuthority, RenewalPorts
from support.csr_make import csr_for, make_key
from support.group_stage import text
from support.office import SOURCE, OfficeWorld, folder
from support.signing import Signer

AT = "https://gateway.example:8443/v1/renew"
DAY = timedelta(days=1)


class World(OfficeWorld):
    """Renewals, and groups to move to."""

    def __init__(self, path: Path) -> None:
        self.memory = MemoryRegistry()
        super().__init__(path, self.memory)
        memory = self.memory
        self.lifetimes = GroupLifetimes(memory, memory)
        self.renewal = RenewalAuthority(
            RenewalPorts(memory, memory, memory, memory),
            authority=self.ca,
            nonces=MemoryNonces(self.clock, SystemEntropy()),
            clock=self.clock,
            entropy=SystemEntropy(),
            lifetimes=self.lifetimes,
        )
        self.regroup = RegroupOffice(fleet=memory, regrouping=memory, sessions=None, clock=self.clock)
        self.groups = GroupOffice(
            GroupPorts(memory, memory, memory), clock=self.clock, entropy=SystemEntropy()
        )

    async def renewed(self) -> Certificate:
        token, key = await self.token("sensor-1", replace=True), make_key("p256")
        enrolled = await self.enroll("sensor-1", csr_for(key, "sensor-1"), token)
        signer = Signer("sensor-1", key, enrolled.certificate.id)
        body = signer.body(AT, await self.renewal.nonce(), None)
        caller = await self.renewal.authenticate(body, [AT], SOURCE)
        return (await self.renewal.renew(caller, signer.next_key().csr)).certificate

    async def group(self, lifetime: str | None) -> None:
        given = {} if lifetime is None else {"give": {"lifetime": lifetime}}
        await self.groups.put("line-7", text(**given))


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(folder(tmp_path))


def lives(certificate: Certificate) -> timedelta:
    return certificate.not_after - certificate.not_before - BACKDATE


async def test_a_thing_of_no_group_has_the_services_lifetime(world: World) -> None:
    assert lives(await world.renewed()) == DEFAULT_DEVICE_LIFETIME
    assert await world.lifetimes.of(ThingName("nobody")) is None


async def test_a_renewal_lives_as_long_as_the_group_says_today(world: World) -> None:
    await world.enrolled("sensor-2")
    await world.group("30d")
    await world.regroup.move("sensor-2", "line-7")
    assert await world.lifetimes.of(ThingName("sensor-2")) == 30 * DAY
    await world.group("7d")
    assert await world.lifetimes.of(ThingName("sensor-2")) == 7 * DAY
    await world.group(None)
    assert await world.lifetimes.of(ThingName("sensor-2")) is None


async def test_the_certificate_has_these_dates(world: World) -> None:
    await world.group("7d")
    token, key = await world.token("sensor-1"), make_key("p256")
    enrolled = await world.enroll("sensor-1", csr_for(key, "sensor-1"), token)
    await world.regroup.move("sensor-1", "line-7")
    signer = Signer("sensor-1", key, enrolled.certificate.id)
    body = signer.body(AT, await world.renewal.nonce(), None)
    caller = await world.renewal.authenticate(body, [AT], SOURCE)
    assert lives((await world.renewal.renew(caller, signer.next_key().csr)).certificate) == 7 * DAY


async def test_a_group_that_was_removed_or_cannot_be_read_says_nothing(world: World) -> None:
    await world.enrolled("sensor-1")
    await world.group("7d")
    await world.regroup.move("sensor-1", "line-7")
    event = AuditEvent(world.clock.now(), "group.put", "done", "line-7", "operator")
    newer = text(methods=["telepathy"], give={"lifetime": "7d"})
    await world.memory.put_group(GroupDocument(GroupName("line-7"), newer, world.clock.now()), event)
    assert await world.lifetimes.of(ThingName("sensor-1")) is None
    await world.group("7d")
    await world.groups.remove("line-7")
    assert await world.lifetimes.of(ThingName("sensor-1")) is None
