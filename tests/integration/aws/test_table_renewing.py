"""A renewal in the table: what AWS IoT is owed by it, which list it is on, and who may go on with it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from keyborn.adapters.aws.table import DynamoRegistry, keys
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.enrollment import Issue
from keyborn.domain.errors import EnrollmentInterrupted
from keyborn.domain.intent import Intent
from keyborn.domain.renewal import OVERLAP
from keyborn.domain.thing import ThingStatus
from support import ministack
from support.aws_stage import Stage
from support.registry_cases import HOUR, START, certificate_for
from support.renewing_cases import RenewingDesk

REVOKED = CertificateStatus.REVOKED
LEASE = timedelta(seconds=17)


def dynamo(desk: RenewingDesk) -> DynamoRegistry:
    assert isinstance(desk.registry, DynamoRegistry)
    return desk.registry


@pytest.fixture
async def desk(stage: Stage) -> AsyncIterator[RenewingDesk]:
    async with DynamoRegistry(ministack.dynamodb, stage.table) as registry:
        yield RenewingDesk(registry)


@pytest.fixture
async def first(desk: RenewingDesk) -> Certificate:
    return await desk.enroll(await desk.token("secret"), "lamp-1", "k1")


async def owed(desk: RenewingDesk) -> list[tuple[str | None, CertificateStatus | None]]:
    return [(one.certificate, one.status) for one in await dynamo(desk).owed(before=desk.now + HOUR)]


def listed(stage: Stage) -> list[str]:
    """Who is on the list of those that wait, husks left out."""
    rows = [one for one in stage.items() if one["pk"]["S"] == keys.SUCCESSORS and "void" not in one]
    return [row["certificate"]["S"] for row in rows]


async def test_a_renewal_owes_nothing_and_its_confirmation_the_predecessor(
    stage: Stage, desk: RenewingDesk, first: Certificate
) -> None:
    second = await desk.renew(first, "k2")
    assert (await owed(desk), listed(stage)) == ([], [second.id])
    await desk.confirm(second)
    await desk.confirm(second)
    assert (await owed(desk), listed(stage)) == ([(first.id, REVOKED)], [])


async def test_whose_place_another_key_takes_is_owed_its_end(
    stage: Stage, desk: RenewingDesk, first: Certificate
) -> None:
    second = await desk.renew(first, "k2")
    begun = await desk.claimed(first, "k3")
    assert (await owed(desk), listed(stage)) == ([(second.id, REVOKED)], [])
    third = await desk.finish(begun)
    assert listed(stage) == [third.id]


async def test_a_replacement_takes_the_place_on_the_list_too(
    stage: Stage, desk: RenewingDesk, first: Certificate
) -> None:
    second = await desk.renew(first, "k2")
    ordered = await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k5")
    assert (await owed(desk), listed(stage)) == ([(second.id, REVOKED)], [ordered.id])
    await desk.connect(ordered)
    assert listed(stage) == []
    assert set(await owed(desk)) == {(second.id, REVOKED), (first.id, REVOKED)}


@pytest.mark.parametrize("order", [ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_who_ends_waits_no_more(
    stage: Stage, desk: RenewingDesk, first: Certificate, order: ThingStatus
) -> None:
    await desk.renew(first, "k2")
    await desk.order("lamp-1", order)
    assert listed(stage) == []


async def test_what_is_withdrawn_is_owed_its_end_and_tidied_off_the_list(
    stage: Stage, desk: RenewingDesk, first: Certificate
) -> None:
    second = await desk.renew(first, "k2")
    await dynamo(desk).tidy()
    desk.pass_time(OVERLAP + HOUR)
    assert await desk.withdraw(second)
    assert await owed(desk) == [(second.id, REVOKED)]
    assert await dynamo(desk).tidy() == 1
    assert not any(one["pk"]["S"] == keys.SUCCESSORS for one in stage.items())


async def test_a_page_of_the_overdue_is_the_oldest_and_not_filled_with_others(
    desk: RenewingDesk,
) -> None:
    token = await desk.token("fleet", ttl=100 * OVERLAP)
    waiting = []
    for number in range(4):
        enrolled = await desk.enroll(token, f"lamp-{number}", f"a{number}")
        waiting.append(await desk.renew(enrolled, f"b{number}"))
        desk.pass_time(HOUR)
    await desk.confirm(waiting[0])
    desk.pass_time(OVERLAP)
    found = await dynamo(desk).overdue(before=desk.now - OVERLAP, at=desk.now, limit=2)
    assert found == waiting[1:3]


async def test_a_list_that_lags_behind_harms_nobody(
    stage: Stage, desk: RenewingDesk, first: Certificate
) -> None:
    """Somebody put a row back: what counts is the thing's own item."""
    second = await desk.confirm(await desk.renew(first, "k2"))
    pk, sk = keys.successor(second)
    row = {"pk": {"S": pk}, "sk": {"S": sk}, "thing": {"S": "lamp-1"}, "certificate": {"S": second.id}}
    ministack.dynamodb().put_item(TableName=stage.table, Item=row)
    desk.pass_time(2 * OVERLAP)
    assert await desk.overdue(OVERLAP) == []
    assert not await desk.withdraw(second)


# ── leases ────────────────────────────────────────────────────────────────────────────────────────────


async def leased(stage: Stage, numbers: int) -> tuple[DynamoRegistry, RenewingDesk]:
    registry = DynamoRegistry(ministack.dynamodb, stage.table, lease=LEASE)
    desk = RenewingDesk(registry, now=START + HOUR)
    for _ in range(numbers):
        next(desk.numbers)
    return registry, desk


async def test_of_all_attempts_at_one_renewal_a_single_one_is_at_work(
    stage: Stage, first: Certificate
) -> None:
    one_registry, one = await leased(stage, 1000)
    two_registry, two = await leased(stage, 2000)
    async with one_registry, two_registry:
        begun = await one.claimed(first, "k2")
        waiting = asyncio.ensure_future(two.renewing.renew(two.renewal(first, "k2")))
        done = await one.finish(begun)
        answer = await waiting
        assert not isinstance(answer, Issue)
        assert answer.certificate == done


async def test_who_died_holds_the_next_one_off_until_the_sweeper_has_looked(
    stage: Stage, first: Certificate
) -> None:
    dead_registry, dead = await leased(stage, 1000)
    async with dead_registry:
        begun = await dead.claimed(first, "k2")
    next_registry, following = await leased(stage, 2000)
    following.pass_time(LEASE + timedelta(seconds=1))
    async with next_registry:
        with pytest.raises(EnrollmentInterrupted):
            await following.claimed(first, "k2")
        assert await seized(next_registry, begun.intent, following)
        resumed = await following.claimed(first, "k2")
        assert resumed == Issue(begun.intent, resumed=True)
        await next_registry.forgo(resumed.intent)
        assert (await following.claimed(first, "k2")).resumed


async def seized(registry: DynamoRegistry, intent: Intent, desk: RenewingDesk) -> bool:
    """What the sweeper does with a lease that is over."""
    until = desk.now + timedelta(minutes=2)
    assert await registry.seize(intent.id, "sweeper", at=desk.now, until=until) is not None
    return await registry.release(intent.id, "sweeper", ended=desk.now)


async def test_a_late_holder_stores_nothing(stage: Stage, first: Certificate) -> None:
    registry, desk = await leased(stage, 1000)
    async with registry:
        begun = await desk.claimed(first, "k2")
        desk.pass_time(LEASE)
        assert await seized(registry, begun.intent, desk)
        with pytest.raises(EnrollmentInterrupted):
            await registry.store(begun.intent, certificate_for(begun.intent))


# ── nonces ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_word_is_spent_once_and_lies_there_longer_than_it_is_good_for(
    stage: Stage, desk: RenewingDesk
) -> None:
    until = desk.now + timedelta(minutes=5)
    outcomes = await asyncio.gather(*(dynamo(desk).spend(b"word", until) for _ in range(8)))
    assert sorted(outcomes) == [False] * 7 + [True]
    assert await dynamo(desk).spend(b"other", until)
    ends = [int(one["ttl"]["N"]) for one in stage.items() if one["pk"]["S"].startswith("nonce#")]
    assert ends == [int((until + HOUR).timestamp())] * 2
