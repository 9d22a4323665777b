"""Renewal in the rude world, seen from the service: it dies at every effect, on memory and on SQLite.

Every point at which a renewal and its confirmation could die is enumerated from the journal of a polite one.
Whatever happens, the device has a certificate that works, and after the confirmation just one is active.
`make test` walks a third of the points on AWS's table, whose calls take their time, and lives some seeds.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from keyborn.adapters.ca import EmbeddedAuthority, open_authority
from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.audit import verify
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.errors import BadNonce, Unavailable
from keyborn.domain.names import CertificateId, NameScope, ThingName, key_hash
from keyborn.domain.renewal import OVERLAP
from keyborn.domain.token import encode_secret
from keyborn.ports import Credential, RenewingRegistry
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.enroll import EnrollmentRequest, RegistrationAuthority
from keyborn.service.nonces import MemoryNonces
from keyborn.service.renew import RenewalAuthority, RenewalPorts
from keyborn.service.sealing import RandomSecrets
from keyborn.service.sweep import HORIZON, OverlapSweeper, Sweeper
from keyborn.service.tokens import TokenOffice, TokenWish
from keyborn.testing import Crash, Moment, Point, Rudeness, SteppedLoop, World, every_crash
from support.csr_make import csr_for, make_key
from support.figures import Figure
from support.office import folder
from support.renewing_cases import RENEWING
from support.signing import NextKey, Signer
from support.walks import FULL

T = TypeVar("T")

AT = "https://gateway.example/v1/renew"
SOURCE = "192.0.2.1"
WALKER = ThingName("walker")
SEEDS = 1000 if FULL else 40
KINDS = [pytest.param(kind, marks=[pytest.mark.slow] * (kind == "dynamodb")) for kind in RENEWING]
ROUNDS = 10
RUDE = Rudeness(latency=0.3, refusal=0.08, lost_reply=0.08, duplicate=0.05, crash=0.04)
PATIENCE = 300


@dataclass
class House:
    """One registry that survives, the processes that come and go over it, and one device."""

    world: World
    ca: EmbeddedAuthority
    registry: RenewingRegistry
    process: RenewalAuthority = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.start()

    def start(self) -> RenewalAuthority:
        """A process as it starts: it knows nothing but what the registry holds; nonces are its own."""
        seen, world = self.world.renewing(self.registry), self.world
        return RenewalAuthority(
            RenewalPorts(seen, seen, seen, seen),
            authority=world.authority(self.ca),
            nonces=MemoryNonces(world.clock, world.entropy),
            clock=world.clock,
            entropy=world.entropy,
        )

    async def enrolled(self) -> Signer:
        """The device with its first certificate; that went politely."""
        world, registry, key = self.world, self.registry, make_key()
        office = TokenOffice(
            tokens=registry,
            listing=registry,
            clock=world.clock,
            secrets=RandomSecrets(world.entropy),
            trust=lambda: ("https://gateway.example", b""),
        )
        secret = encode_secret((await office.create(TokenWish(NameScope("walker")))).code.secret)
        door = RegistrationAuthority(
            authenticator=TokenAuthenticator(registry),
            enrollments=registry,
            authority=self.ca,
            audit=registry,
            clock=world.clock,
            entropy=world.entropy,
        )
        request = EnrollmentRequest("walker", csr_for(key, "walker"), SOURCE)
        enrolled = await door.enroll(await door.authenticate(Credential(secret, SOURCE)), request)
        return Signer("walker", key, enrolled.certificate.id)

    # ── what the device does ──────────────────────────────────────────────────────────────────────────

    async def renew(self, signer: Signer, following: NextKey) -> Certificate:
        """One request."""
        body = signer.body(AT, await self.process.nonce())
        caller = await self.process.authenticate(body, [AT], SOURCE)
        return (await self.process.renew(caller, following.csr)).certificate

    async def connect(self, signer: Signer) -> Certificate:
        """The broker records the connection."""
        seen = self.world.renewing(self.registry)
        return await seen.connected(signer.certificate_id, self.world.clock.now())

    async def confirm(self, signer: Signer) -> Certificate:
        """One request."""
        body = signer.body(AT, await self.process.nonce())
        return await self.process.confirm(await self.process.authenticate(body, [AT], SOURCE))

    async def go_over(self, signer: Signer, following: NextKey) -> Signer:
        """All of it, without a second try."""
        renewed = await self.renew(signer, following)
        successor = following.with_certificate(renewed.id)
        await self.connect(successor)
        await self.confirm(successor)
        return successor

    async def persistently(self, act: Callable[[], Awaitable[T]]) -> T:
        """Retry until there is an answer, whatever dies meanwhile; raises what no retry can change."""
        for _ in range(PATIENCE):
            try:
                return await act()
            except (Unavailable, BadNonce):
                self.world.clock.advance(timedelta(seconds=1))
            except Crash:
                self.world.reboot()
                self.process = self.start()
        raise AssertionError("the device is stranded")

    async def go_over_persistently(self, signer: Signer, following: NextKey) -> Signer:
        """All of it, each step until it is answered."""
        renewed = await self.persistently(lambda: self.renew(signer, following))
        successor = following.with_certificate(renewed.id)
        await self.persistently(lambda: self.connect(successor))
        await self.persistently(lambda: self.confirm(successor))
        return successor

    # ── what is left ──────────────────────────────────────────────────────────────────────────────────

    async def active(self) -> list[CertificateId]:
        held = await self.registry.certificates(WALKER)
        return [one.id for one in held if one.status is CertificateStatus.ACTIVE]

    async def settle(self) -> None:
        """Sweep once everything is overdue."""
        self.world.clock.advance(OVERLAP + HORIZON)
        await Sweeper(leftovers=self.registry, clock=self.world.clock).sweep()
        await OverlapSweeper(successors=self.registry, clock=self.world.clock).sweep()

    async def require_sound(self, signer: Signer) -> None:
        """Just this certificate is active, its key owns the name, nothing is open, the trail holds."""
        assert await self.active() == [signer.certificate_id]
        thing = await self.registry.thing(WALKER)
        assert thing is not None
        assert thing.key_hash == key_hash(_spki(signer))
        assert await self.registry.leftovers(before=self.world.clock.now() + HORIZON) == []
        verify(await self.registry.records(limit=1000))

    async def actions(self) -> list[str]:
        return [each.event.action for each in await self.registry.records(limit=1000)]


def _spki(signer: Signer) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return signer.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedAuthority:
    path: Path = folder(tmp_path_factory.mktemp("ca"))
    return open_authority(path / "ca", clock=World(0).clock, entropy=SystemEntropy())


@asynccontextmanager
async def house(ca: EmbeddedAuthority, kind: str, path: Path) -> AsyncIterator[House]:
    """An empty house over a registry of a kind."""
    async with RENEWING[kind](path) as registry:
        yield House(World(1), ca, registry)


def room(path: Path, number: int) -> Path:
    """A folder of its own for each walk."""
    made = path / f"{number}"
    made.mkdir()
    return made


async def polite_points(ca: EmbeddedAuthority) -> list[Point]:
    """Every point at which a renewal, the connection and the confirmation could die."""
    polite = House(World(1), ca, MemoryRegistry())
    signer = await polite.enrolled()
    await polite.go_over(signer, signer.next_key())
    return list(every_crash(polite.world.journal))


def walked(points: Sequence[Point], kind: str) -> Sequence[Point]:
    """All of them, or a share."""
    return points if FULL or kind != "dynamodb" else points[::3]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_crash_at_any_effect_and_a_retry_end_with_one_active_certificate(
    ca: EmbeddedAuthority, kind: str, tmp_path: Path, figure: Figure
) -> None:
    points = await polite_points(ca)
    assert {point.effect for point in points} == {
        "registry.certificate", "registry.renew", "authority.issue", "registry.store", "registry.activate",
        "registry.connected", "registry.confirm",
    }  # fmt: skip
    for number, point in enumerate(walked(points, kind)):
        async with house(ca, kind, room(tmp_path, number)) as home:
            await crash_and_retry(home, point)
    figure(
        f"crash points of a renewal and its confirmation on {kind}, from its effects: "
        f"{len(walked(points, kind))} of {len(points)}"
    )


async def crash_and_retry(home: House, point: Point) -> None:
    first = await home.enrolled()
    following = first.next_key()
    home.world.crash_at(point)
    with pytest.raises(Crash):
        await home.go_over(first, following)
    active = await home.active()
    assert len(active) in (1, 2), point
    confirmed = point == Point("registry.confirm", Moment.AFTER)
    assert (first.certificate_id in active) is not confirmed, point
    home.world.reboot()
    home.process = home.start()
    if confirmed:
        found = (await home.registry.certificates(WALKER))[-1]
        second = following.with_certificate(found.id)
        await home.confirm(second)  # its answer got lost: it is given again
    else:
        second = await home.go_over_persistently(first, following)
    await home.require_sound(second)
    actions = await home.actions()
    assert actions.count("renew") == actions.count("renew.confirm") == 1, point
    await home.settle()
    await home.require_sound(second)
    assert len(await home.registry.certificates(WALKER)) == 2, point


@pytest.mark.parametrize("kind", KINDS)
async def test_a_crash_at_any_effect_without_a_retry_leaves_one_that_works(
    ca: EmbeddedAuthority, kind: str, tmp_path: Path
) -> None:
    for number, point in enumerate(walked(await polite_points(ca), kind)):
        async with house(ca, kind, room(tmp_path, number)) as home:
            await crash_and_leave(home, point)


async def crash_and_leave(home: House, point: Point) -> None:
    first = await home.enrolled()
    following = first.next_key()
    home.world.crash_at(point)
    with pytest.raises(Crash):
        await home.go_over(first, following)
    home.world.reboot()
    home.process = home.start()
    await home.settle()
    (active,) = await home.active()
    confirmed = point == Point("registry.confirm", Moment.AFTER)
    assert (active != first.certificate_id) is confirmed, point
    current = following.with_certificate(active) if confirmed else first
    await home.require_sound(await home.go_over(current, current.next_key()))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_crash_at_any_effect_and_another_key_end_with_one_active_certificate(
    ca: EmbeddedAuthority, kind: str, tmp_path: Path
) -> None:
    """The device lost its next key with the answer, as one does whose disk was full: it makes another one."""
    points = [each for each in await polite_points(ca) if each.effect != "registry.confirm"]
    before = {Point("registry.connected", Moment.AFTER), Point("registry.certificate", Moment.BEFORE, 2)}
    before |= {Point("registry.certificate", Moment.AFTER, 2)}
    for number, point in enumerate(walked([each for each in points if each not in before], kind)):
        async with house(ca, kind, room(tmp_path, number)) as home:
            first = await home.enrolled()
            home.world.crash_at(point)
            with pytest.raises(Crash):
                await home.go_over(first, first.next_key())
            home.world.reboot()
            home.process = home.start()
            await home.require_sound(await home.go_over(first, first.next_key()))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(4))
def test_rude_worlds_strand_nobody(ca: EmbeddedAuthority, part: int, figure: Figure) -> None:
    for seed in range(part * SEEDS // 4, (part + 1) * SEEDS // 4):
        home = House(World(seed, RUDE), ca, MemoryRegistry())
        loop = SteppedLoop(home.world.clock)
        try:
            loop.run_until_complete(live(home, Random(seed)))
        finally:
            loop.close()
    if part == 0:
        figure(f"rude worlds of {ROUNDS} renewals each, by seed: {SEEDS}, nobody stranded, one active each")


async def live(home: House, random: Random) -> None:
    """Ten renewals in a row; now and then a next key is lost, and a sweeper goes by."""
    signer = await home.enrolled()
    for _ in range(ROUNDS):
        home.world.clock.advance(timedelta(days=random.randint(55, 75)))
        if random.random() < 0.3:
            lost = signer.next_key()
            await home.persistently(lambda lost=lost, signer=signer: home.renew(signer, lost))  # type: ignore[misc] # bound now
        if random.random() < 0.2:
            await home.settle()
        signer = await home.go_over_persistently(signer, signer.next_key())
        assert await home.active() == [signer.certificate_id]
    await home.settle()
    await home.require_sound(signer)
