"""The registration authority in the rude world: devices retry, processes die, replies get lost.

Every point at which an enrolment could die is enumerated from the journal of a polite one; then seeds.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from keyborn.adapters.ca import EmbeddedAuthority, open_authority
from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.audit import AuditEvent, verify
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.errors import Conflict, KeyRevoked, ThingRevoked, Unavailable
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import encode_secret
from keyborn.ports import Credential
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.enroll import EnrollmentRequest, RegistrationAuthority
from keyborn.service.sealing import RandomSecrets
from keyborn.service.sweep import HORIZON, Sweeper
from keyborn.service.tokens import TokenOffice, TokenWish
from keyborn.testing import Crash, Moment, Point, Rudeness, SteppedLoop, World, every_crash
from support.csr_make import csr_for, make_key, shared_key
from support.figures import Figure
from support.office import folder
from support.walks import FULL

SEEDS = 2000 if FULL else 60
RUDE = Rudeness(latency=0.3, refusal=0.08, lost_reply=0.08, duplicate=0.05, crash=0.04)
PATIENCE = 200
EXPECTED = (Conflict, ThingRevoked, KeyRevoked)
"""How the loser of a duel and a revoked thing hear of it."""


@dataclass
class House:
    """One registry that survives, and the processes that come and go over it."""

    world: World
    ca: EmbeddedAuthority
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)

    def process(self) -> RegistrationAuthority:
        """A process as it starts: it knows nothing but what the registry holds."""
        seen = self.world.registry(self.registry)
        return RegistrationAuthority(
            authenticator=TokenAuthenticator(seen),
            enrollments=seen,
            authority=self.world.authority(self.ca),
            audit=seen,
            clock=self.world.clock,
            entropy=self.world.entropy,
        )

    async def secret(self, pattern: str, uses: int | None = 1) -> str:
        office = TokenOffice(
            tokens=self.registry,
            listing=self.registry,
            clock=self.world.clock,
            secrets=RandomSecrets(self.world.entropy),
            trust=lambda: ("https://127.0.0.1", b""),
        )
        fresh = await office.create(TokenWish(NameScope(pattern), uses, timedelta(days=1)))
        return encode_secret(fresh.code.secret)

    async def ask(self, process: RegistrationAuthority, name: str, csr: str, secret: str) -> Certificate:
        applicant = await process.authenticate(Credential(secret, "192.0.2.1"))
        return (await process.enroll(applicant, EnrollmentRequest(name, csr, "192.0.2.1"))).certificate

    async def device(self, name: str, csr: str, secret: str) -> Certificate:
        """Retry until there is an answer, whatever dies meanwhile; raises what no retry can change."""
        process = self.process()
        for _ in range(PATIENCE):
            try:
                return await self.ask(process, name, csr, secret)
            except Unavailable:
                self.world.clock.advance(timedelta(seconds=1))
            except Crash:
                self.world.reboot()
                process = self.process()
            await asyncio.sleep(0.1)
        raise AssertionError(f"{name} is stranded")

    async def active(self, name: str) -> list[Certificate]:
        held = await self.registry.certificates(ThingName(name))
        return [certificate for certificate in held if certificate.status is CertificateStatus.ACTIVE]

    async def settle(self) -> None:
        """Sweep once everything is overdue."""
        self.world.clock.advance(HORIZON * 2)
        await Sweeper(leftovers=self.registry, clock=self.world.clock).sweep()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedAuthority:
    path: Path = folder(tmp_path_factory.mktemp("ca"))
    return open_authority(path / "ca", clock=World(0).clock, entropy=SystemEntropy())


def stepped(world: World, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on a loop whose sleeps take no time."""
    loop = SteppedLoop(world.clock)
    try:
        loop.run_until_complete(work())
    finally:
        loop.close()


def polite_journal(ca: EmbeddedAuthority) -> list[str]:
    house = House(World(1), ca)

    async def once() -> None:
        await house.device("walker", csr_for(shared_key(), "walker"), await house.secret("walker"))

    stepped(house.world, once)
    return house.world.journal


def test_a_crash_at_any_effect_and_a_retry_end_with_one_active_certificate(
    ca: EmbeddedAuthority, figure: Figure
) -> None:
    points = list(every_crash(polite_journal(ca)))
    assert {point.effect for point in points} >= {
        "registry.find", "registry.claim", "authority.issue", "registry.store", "registry.activate",
    }  # fmt: skip
    for point in points:
        house = House(World(1), ca)
        stepped(house.world, partial(crash_and_retry, house, point))
    figure(f"crash points of an enrolment, enumerated from its effects: {len(points)}, one active each")


async def crash_and_retry(house: House, point: Point) -> None:
    csr, secret = csr_for(shared_key(), "walker"), await house.secret("walker")
    house.world.crash_at(point)
    with pytest.raises(Crash):
        await house.ask(house.process(), "walker", csr, secret)
    acted = point == Point("registry.activate", Moment.AFTER)
    assert len(await house.active("walker")) == acted, point
    house.world.reboot()
    certificate = await house.device("walker", csr, secret)
    assert [held.id for held in await house.active("walker")] == [certificate.id]
    await house.settle()
    assert len(await house.registry.certificates(ThingName("walker"))) == 1, point


def test_a_crash_at_any_effect_without_a_retry_leaves_nothing_active_or_taken(ca: EmbeddedAuthority) -> None:
    for point in every_crash(polite_journal(ca)):
        house = House(World(1), ca)
        stepped(house.world, partial(crash_and_leave, house, point))


async def crash_and_leave(house: House, point: Point) -> None:
    secret = await house.secret("walker", uses=1)
    house.world.crash_at(point)
    with pytest.raises(Crash):
        await house.ask(house.process(), "walker", csr_for(shared_key(), "walker"), secret)
    house.world.reboot()
    if point == Point("registry.activate", Moment.AFTER):
        return  # it was done; only the answer got lost
    await house.settle()
    assert await house.active("walker") == []
    another = await house.device("walker", csr_for(make_key(), "walker"), secret)
    assert [held.id for held in await house.active("walker")] == [another.id], "name and token are free again"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_rude_worlds_strand_nobody_and_leave_nothing(
    ca: EmbeddedAuthority, part: int, figure: Figure
) -> None:
    seeds = range(part * SEEDS // 10, (part + 1) * SEEDS // 10)
    for seed in seeds:
        house = House(World(seed, RUDE), ca)
        stepped(house.world, partial(live, house, Random(seed)))
    if part == 0:
        figure(f"rude worlds, by seed: {SEEDS}, nobody stranded, nothing left over")


async def live(house: House, random: Random) -> None:
    """Three devices that retry, two that fight for one name, an operator who revokes a sixth."""
    pattern = await house.secret("sensor-*", uses=3)
    duel = await house.secret("duel", uses=2)
    doomed = await house.secret("doomed")
    names = ["sensor-1", "sensor-2", "sensor-3"]
    key = shared_key()
    requests = {name: csr_for(make_key(), name) for name in names}
    tasks: list[Coroutine[Any, Any, object]] = [revoke(house, "doomed")]
    tasks += [house.device("doomed", csr_for(key, "doomed"), doomed)]
    tasks += [house.device("duel", csr_for(make_key(), "duel"), duel) for _ in range(2)]
    for name in names:
        tasks += [house.device(name, requests[name], pattern) for _ in range(random.randint(1, 3))]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    strange = [one for one in outcomes if isinstance(one, BaseException) and not isinstance(one, EXPECTED)]
    assert not strange
    await house.settle()
    for name in names:
        assert len(await house.active(name)) == 1, name
    assert len(await house.active("duel")) == 1
    thing = await house.registry.thing(ThingName("doomed"))
    assert thing is not None
    assert thing.status is ThingStatus.REVOKED
    assert await house.active("doomed") == []
    assert await house.registry.leftovers(before=house.world.clock.now()) == []
    verify(await house.registry.records(limit=10_000))


async def revoke(house: House, name: str) -> None:
    """Revoke as soon as the thing is there."""
    for _ in range(PATIENCE):
        if await house.registry.thing(ThingName(name)) is not None:
            break
        await asyncio.sleep(0.05)
    event = AuditEvent(house.world.clock.now(), "thing.revoke", "done", name, "operator")
    await house.registry.set_status(ThingName(name), ThingStatus.REVOKED, event)
