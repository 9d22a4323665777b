"""The registration authority over a registry that has the embedded authority sign within the claim."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.audit import AuditEvent, verify
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import CaDates, ThingNameTaken, TokenExpired
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.service.saga import SagaStep
from keyborn.wiring.signing import SigningInPlace
from support.csr_make import make_csr
from support.office import Crash, OfficeWorld, folder

WITHIN = (SagaStep.CLAIMED, SagaStep.SIGNED, SagaStep.STORED)
"""Of these nothing is on disk before all of it is."""


class World(OfficeWorld):
    """The office of the other tests, wired as ``keyborn serve`` is."""

    def __init__(self, path: Path) -> None:
        self.signing = SigningInPlace()
        self.sqlite = SqliteRegistry(
            path / "registry.db", signer=self.signing, on_grant=self.signing.telling(self._stop)
        )
        super().__init__(folder(path), self.sqlite)
        self.signing.authority = self.ca

    def _stop(self, step: SagaStep) -> None:
        """As a step is heard in the writer's thread, which outlives it."""
        try:
            self._on_step(step)
        except Crash as crash:
            raise LookupError(f"stopped at {step}") from crash


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = World(tmp_path)
    async with opened.sqlite:
        yield opened


async def test_the_steps_come_in_the_order_of_the_protocol_in_one_commit(world: World) -> None:
    token, (key, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    before = world.sqlite.counters.commits
    outcome = await world.enroll("sensor-1", csr, token)
    assert world.steps == list(SagaStep)
    assert world.sqlite.counters.commits == before + 1
    leaf = x509.load_der_x509_certificate(outcome.certificate.der)
    assert leaf.public_key() == key.public_key()
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(world.ca.chain_pem().encode()))
    assert (await world.active("sensor-1"))[0].id == outcome.certificate.id


async def test_the_same_request_again_is_answered_by_the_claim(world: World) -> None:
    csr, token, first = await world.enrolled("sensor-1")
    world.steps.clear()
    again = await world.enroll("sensor-1", csr, token)
    assert (again.certificate, again.repeated) == (first, True)
    assert world.steps == [SagaStep.AUTHENTICATED, SagaStep.ADMITTED, SagaStep.PARSED]


@pytest.mark.parametrize("step", SagaStep)
async def test_after_a_stop_at_any_step_and_a_retry_there_is_one_active_certificate(
    world: World, step: SagaStep
) -> None:
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    world.crash_at = step
    with pytest.raises(LookupError if step in WITHIN else Crash):
        await world.enroll("sensor-1", csr, token)
    done = step is SagaStep.ACTIVATED
    assert len(await world.sqlite.certificates(ThingName("sensor-1"))) == int(done)
    assert len(await world.sqlite.things()) == int(done)
    world.crash_at = None
    outcome = await world.enroll("sensor-1", csr, token)
    assert outcome.repeated is done
    assert await world.sqlite.certificates(ThingName("sensor-1")) == [outcome.certificate]
    assert verify(await world.sqlite.records()).sequence == 2


async def test_a_stop_within_the_claim_leaves_nothing_to_resume_past_the_tokens_end(world: World) -> None:
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    world.crash_at = SagaStep.STORED
    with pytest.raises(LookupError):
        await world.enroll("sensor-1", csr, token)
    world.crash_at = None
    world.clock.turn(timedelta(hours=2))
    with pytest.raises(TokenExpired):
        await world.enroll("sensor-1", csr, token)
    assert await world.sqlite.things() == []


async def test_a_saga_that_an_older_release_left_open_is_finished_by_the_claim(world: World) -> None:
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    older = SqliteRegistry(world.sqlite._path)
    async with older:
        world.registry = older
        office, world.crash_at = world.build(world.authority._authenticator), SagaStep.STORED
        (world.authority, whole) = (office, world.authority)
        with pytest.raises(Crash):
            await world.enroll("sensor-1", csr, token)
    world.authority, world.crash_at, world.registry = whole, None, world.sqlite
    (waiting,) = await world.sqlite.certificates(ThingName("sensor-1"))
    assert waiting.status is CertificateStatus.INACTIVE
    outcome = await world.enroll("sensor-1", csr, token)
    assert (outcome.certificate.id, outcome.repeated) == (waiting.id, True)
    assert [one.id for one in await world.active("sensor-1")] == [waiting.id]
    assert (await world.sqlite.things())[0].status is ThingStatus.ACTIVE


async def test_both_ways_record_the_same_of_an_enrolment(world: World, tmp_path: Path) -> None:
    (tmp_path / "saga").mkdir()
    saga = OfficeWorld(folder(tmp_path / "saga"))

    async def recorded(office: OfficeWorld) -> AuditEvent:
        await office.enrolled("sensor-1")
        return (await office.registry.records())[-1].event

    one, other = await recorded(world), await recorded(saga)
    assert (one.at, one.action, one.outcome, one.subject, one.source) == (
        other.at,
        other.action,
        other.outcome,
        other.subject,
        other.source,
    )
    assert one.details.keys() == other.details.keys()


async def test_what_the_authority_refuses_leaves_nothing(world: World) -> None:
    world.clock.turn(timedelta(days=3650))
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    with pytest.raises(CaDates):
        await world.enroll("sensor-1", csr, token)
    assert await world.sqlite.things() == []


async def test_fifty_keys_for_one_name_have_one_winner(world: World) -> None:
    token = await world.token("sensor-1", uses=50)

    async def claim() -> str:
        try:
            return (await world.enroll("sensor-1", make_csr("sensor-1")[1], token)).certificate.id
        except ThingNameTaken as refused:
            return refused.code

    results = await asyncio.gather(*(claim() for _ in range(50)))
    assert results.count("thing_name_taken") == 49
    assert len(await world.active("sensor-1")) == 1
    assert (await world.outcomes()).count("thing_name_taken") == 49, "each of them is in the trail"


def test_nobody_signs_before_the_authority_is_open(world: World) -> None:
    with pytest.raises(RuntimeError, match="before the authority is open"):
        SigningInPlace().sign(None)  # type: ignore[arg-type] # it is not even looked at
    assert world.signing.authority is world.ca
