"""Leases: of many equal requests one asks AWS to sign, and the others wait for its answer."""

import asyncio
from datetime import timedelta

import pytest

from keyborn.adapters.aws.calls import within
from keyborn.adapters.aws.table import GRACE, Waiting
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.enrollment import Issue, Repeat
from keyborn.domain.errors import EnrollmentInterrupted
from keyborn.domain.intent import IntentId
from keyborn.domain.names import CertificateId
from keyborn.domain.thing import ThingStatus
from support.aws_stage import Stage, registry_of
from support.registry_cases import Desk, certificate_for

LEASE = timedelta(seconds=30)


async def dirt_of(desk: Desk) -> list[str]:
    """The intents that may have left a stray certificate."""
    return [one.intent for one in await registry_of(desk).dirt()]


async def test_of_fifty_equal_enrollments_one_signs_and_all_have_its_certificate(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk, stage.process(lease=LEASE) as other:
        token = await desk.token("secret", uses=1)
        signed = 0

        async def enroll(at: Desk) -> bytes:
            nonlocal signed
            verdict = await at.registry.claim(at.attempt(token, "lamp-1", "k1"))
            if isinstance(verdict, Repeat):
                return verdict.certificate.der
            assert isinstance(verdict, Issue)
            signed += 1
            await at.registry.store(verdict.intent, certificate_for(verdict.intent, str(signed)))
            return (await at.registry.activate(verdict.intent.id, at.done("lamp-1"))).der

        answers = await asyncio.gather(*(enroll(at) for at in (desk, other) for _ in range(25)))

        assert (len(set(answers)), signed) == (1, 1)
        assert await dirt_of(desk) == []


async def test_who_waits_for_nobody_is_told_to_come_again(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        token = await desk.token("secret")
        await desk.claim(token, "lamp-1", "k1")

        with within(0.3), pytest.raises(EnrollmentInterrupted) as refusal:
            await desk.claim(token, "lamp-1", "k1")

        assert refusal.value.retry_after == 1
        assert await dirt_of(desk) == []


async def test_who_died_before_storing_is_first_the_sweeper_s(stage: Stage) -> None:
    """AWS IoT may have activated what nobody knows."""
    async with stage.process(lease=LEASE) as desk:
        token = await desk.token("secret")
        first = await desk.claim(token, "lamp-1", "k1")
        desk.pass_time(LEASE)
        with pytest.raises(EnrollmentInterrupted) as refusal:
            await desk.claim(token, "lamp-1", "k1")
        assert refusal.value.retry_after == 20

        seized = await seize(desk, first.intent.id, "sweeper")
        assert seized is not None
        assert seized.intent == first.intent
        (dirt,) = await registry_of(desk).dirt()
        assert (dirt.intent, dirt.key, dirt.thing) == (first.intent.id, first.intent.key_hash, "lamp-1")
        assert (dirt.since, dirt.until) == (first.intent.created_at, desk.now)
        with within(0.2), pytest.raises(EnrollmentInterrupted):
            await desk.claim(token, "lamp-1", "k1")

        assert await registry_of(desk).release(first.intent.id, "sweeper", ended=desk.now)
        assert await desk.claim(token, "lamp-1", "k1") == Issue(first.intent, resumed=True)
        assert len(await dirt_of(desk)) == 1, "the same entry again"


async def test_where_no_sweeper_comes_the_lease_is_taken_and_a_possible_stray_is_noted(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        token = await desk.token("secret")
        first = await desk.claim(token, "lamp-1", "k1")
        desk.pass_time(LEASE + GRACE)

        assert await desk.claim(token, "lamp-1", "k1") == Issue(first.intent, resumed=True)
        (dirt,) = await registry_of(desk).dirt()
        assert (dirt.since, dirt.until) == (first.intent.created_at, desk.now - GRACE)
        with within(0.2), pytest.raises(EnrollmentInterrupted):
            await desk.claim(token, "lamp-1", "k1")


async def seize(desk: Desk, intent: IntentId, holder: str) -> Waiting | None:
    return await registry_of(desk).seize(intent, holder, at=desk.now, until=desk.now + LEASE)


async def test_only_one_takes_a_lease_that_is_over(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        token = await desk.token("secret")
        await desk.claim(token, "lamp-1", "k1")
        desk.pass_time(LEASE + GRACE)

        with within(0.5):
            claims = (desk.claim(token, "lamp-1", "k1") for _ in range(12))
            outcomes = await asyncio.gather(*claims, return_exceptions=True)

        assert sum(isinstance(one, Issue) for one in outcomes) == 1
        assert sum(isinstance(one, EnrollmentInterrupted) for one in outcomes) == 11


async def test_nobody_seizes_what_somebody_is_at_work_on(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        issue = await desk.stored(await desk.token("secret"), "lamp-1", "k1")
        assert await seize(desk, issue.intent.id, "sweeper") is None
        assert await seize(desk, IntentId("unheard-of"), "sweeper") is None
        assert await seize(desk, issue.intent.id, issue.intent.id) is not None, "one's own is renewed"

        await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
        assert await seize(desk, issue.intent.id, issue.intent.id) is None, "it is over"


async def test_who_lost_its_lease_cannot_store(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        issue = await desk.claim(await desk.token("secret"), "lamp-1", "k1")
        desk.pass_time(LEASE)
        assert await seize(desk, issue.intent.id, "sweeper") is not None

        with pytest.raises(EnrollmentInterrupted):
            await desk.registry.store(issue.intent, certificate_for(issue.intent))
        (held,) = await registry_of(desk).waiting()
        assert (held.holder, held.staged) == ("sweeper", None)


async def test_who_lost_its_lease_can_neither_activate_nor_give_it_back(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        issue = await desk.stored(await desk.token("secret"), "lamp-1", "k1")
        desk.pass_time(LEASE)
        assert await seize(desk, issue.intent.id, "sweeper") is not None

        with pytest.raises(EnrollmentInterrupted):
            await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
        assert not await registry_of(desk).release(issue.intent.id, issue.intent.id)
        (held,) = await registry_of(desk).waiting()
        assert held.holder == "sweeper"


async def test_an_order_soon_after_an_enrollment_is_said_again_when_its_lease_is_over(stage: Stage) -> None:
    """A call to activate that AWS IoT was slow with may take effect after the one that revokes."""
    async with stage.process(lease=LEASE) as desk:
        certificate = await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
        await desk.order("lamp-1", ThingStatus.REVOKED)
        owed = await registry_of(desk).owed(before=desk.now + LEASE * 2)
        revoked = CertificateStatus.REVOKED
        assert [(one.certificate, one.status, one.due) for one in owed] == [
            (certificate.id, revoked, desk.now),
            (certificate.id, revoked, desk.now + LEASE),
        ]


async def test_the_table_tells_which_certificates_it_knows(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        ours = (await desk.enroll(await desk.token("secret"), "lamp-1", "k1")).id
        others = [CertificateId(f"{number:064x}") for number in range(150)]
        assert await registry_of(desk).known([*others, ours]) == {ours}
        assert await registry_of(desk).waiting() == []


async def test_a_certificate_that_was_stored_is_no_stray_and_is_found_by_who_goes_on(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        token = await desk.token("secret")
        issue = await desk.stored(token, "lamp-1", "k1")
    async with stage.process(lease=LEASE) as desk:
        desk.pass_time(LEASE)
        again = await desk.claim(token, "lamp-1", "k1")
        flight = await registry_of(desk).flight(again.intent.id)

        assert flight is not None
        assert flight.intent == again.intent == issue.intent
        assert flight.thing == await desk.thing("lamp-1")
        assert flight.staged == certificate_for(issue.intent)
        assert await dirt_of(desk) == []


async def test_a_lease_that_is_given_back_is_free_at_once(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        token = await desk.token("secret")
        first = await desk.claim(token, "lamp-1", "k1")
        assert await registry_of(desk).release(first.intent.id, first.intent.id)
        assert not await registry_of(desk).release(IntentId("unheard-of"), first.intent.id)

        assert await desk.claim(token, "lamp-1", "k1") == Issue(first.intent, resumed=True)


async def test_what_is_over_has_no_flight_and_no_lease_to_give_back(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        issue = await desk.stored(await desk.token("secret"), "lamp-1", "k1")
        await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))

        assert not await registry_of(desk).release(issue.intent.id, issue.intent.id)

        assert await registry_of(desk).flight(issue.intent.id) is None
        assert await registry_of(desk).flight(IntentId("unheard-of")) is None


async def test_a_second_token_waits_for_the_lease_and_then_pays(stage: Stage) -> None:
    async with stage.process(lease=LEASE) as desk:
        first, second = await desk.token("first", uses=1), await desk.token("second", uses=1)
        await desk.claim(first, "lamp-1", "k1")
        with within(0.2), pytest.raises(EnrollmentInterrupted):
            await desk.claim(second, "lamp-1", "k1")
        assert await desk.uses_taken(second) == 0

        desk.pass_time(LEASE + GRACE)
        await desk.claim(second, "lamp-1", "k1")

        assert (await desk.uses_taken(first), await desk.uses_taken(second)) == (1, 1)


async def test_an_order_does_not_wait_for_a_lease_and_is_said_again_after_it(stage: Stage) -> None:
    """Who holds the lease may have made AWS IoT activate the certificate, or be about to."""
    async with stage.process(lease=LEASE) as desk:
        issue = await desk.stored(await desk.token("secret"), "lamp-1", "k1")
        await desk.order("lamp-1", ThingStatus.REVOKED)

        owed = await registry_of(desk).owed(before=desk.now + LEASE * 2)

        told = [(one.certificate, one.status, one.due) for one in owed]
        signed, revoked = certificate_for(issue.intent).id, CertificateStatus.REVOKED
        assert told == [(signed, revoked, desk.now), (signed, revoked, desk.now + LEASE)]


async def test_what_was_ended_before_it_was_signed_is_looked_for_until_the_lease_is_over(
    stage: Stage,
) -> None:
    async with stage.process(lease=LEASE) as desk:
        issue = await desk.claim(await desk.token("secret"), "lamp-1", "k1")
        await desk.order("lamp-1", ThingStatus.REVOKED)

        (dirt,) = await registry_of(desk).dirt()

        assert (dirt.intent, dirt.until) == (issue.intent.id, desk.now + LEASE)
