"""Many at once, in several processes, where DynamoDB also says "conflict" to every second transaction."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from keyborn.domain.access_policy.document import DEFAULT_POLICY, MAX_ATTACHED, PolicyName
from keyborn.domain.audit import verify
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.enrollment import Issue
from keyborn.domain.errors import KeybornError, PolicyInUse, ThingNameTaken, TokenExhausted, TooManyPolicies
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from support.aws_faults import Fault, Faults, Plan
from support.aws_stage import Stage
from support.registry_cases import LIFETIME, Desk

PROCESSES = 3


@pytest.fixture
async def desks(stage: Stage, faults: Faults) -> AsyncIterator[list[Desk]]:
    """Three processes; of the first thousand calls every second one meets a conflict."""
    faults.plan(*(Plan(Fault.CONFLICT, number) for number in range(0, 1000, 2)))
    async with AsyncExitStack() as open_ones:
        opened = [open_ones.enter_async_context(stage.process(faults.client)) for _ in range(PROCESSES)]
        yield [await one for one in opened]


async def test_fifty_equal_enrollments_are_one_certificate(desks: list[Desk]) -> None:
    token = await desks[0].token("secret", uses=1)

    answers = await asyncio.gather(*(desks[n % PROCESSES].enroll(token, "lamp-1", "k1") for n in range(51)))

    assert len({one.der for one in answers}) == 1
    certificates = await desks[0].registry.certificates(ThingName("lamp-1"))
    assert [one.status for one in certificates] == [CertificateStatus.ACTIVE]
    assert await desks[0].uses_taken(token) == 1
    trail = await desks[0].registry.records()
    assert [one.event.action for one in trail] == ["token.create", "enroll"]


async def test_thirty_keys_for_one_name_have_one_winner(desks: list[Desk]) -> None:
    token = await desks[0].token("secret")

    outcomes = await asyncio.gather(
        *(desks[n % PROCESSES].claim(token, "lamp-1", f"k{n}") for n in range(30)), return_exceptions=True
    )

    assert sum(isinstance(one, Issue) for one in outcomes) == 1
    assert sum(isinstance(one, ThingNameTaken) for one in outcomes) == 29


async def test_a_token_of_five_uses_serves_five_of_thirty(desks: list[Desk]) -> None:
    token = await desks[0].token("secret", uses=5)

    outcomes = await asyncio.gather(
        *(desks[n % PROCESSES].claim(token, f"lamp-{n}", f"k{n}") for n in range(30)), return_exceptions=True
    )

    assert sum(isinstance(one, Issue) for one in outcomes) == 5
    assert sum(isinstance(one, TokenExhausted) for one in outcomes) == 25
    assert await desks[0].uses_taken(token) == 5
    assert len(await desks[0].registry.things()) == 5


@pytest.mark.whole
async def test_of_fifteen_attached_at_once_a_thing_gets_ten(desks: list[Desk]) -> None:
    await desks[0].enroll(await desks[0].token("secret"), "lamp-1", "k1")
    for number in range(15):
        await desks[0].put(f"p{number}")

    outcomes = await asyncio.gather(
        *(desks[n % PROCESSES].attach("lamp-1", f"p{n}") for n in range(15)), return_exceptions=True
    )

    assert sum(isinstance(one, TooManyPolicies) for one in outcomes) == 6
    assert len((await desks[0].thing("lamp-1")).policies or ()) == MAX_ATTACHED


async def test_a_policy_is_not_removed_from_under_the_device_that_its_last_token_enrolls(
    desks: list[Desk],
) -> None:
    """The removal asks for tokens and for users; the claim moves from the one to the other meanwhile."""
    names = [f"p{number}" for number in range(9)]
    tokens = []
    for name in names:
        await desks[0].put(name)
        tokens.append(await desks[0].token(f"secret {name}", uses=1, policies=[name]))

    async def remove(name: str) -> bool:
        for _ in range(3):
            try:
                await desks[1].remove(name)
            except PolicyInUse:
                await asyncio.sleep(0)
            else:
                return True
        return False

    claims = [desks[0].claim(token, f"lamp-{name}", name) for token, name in zip(tokens, names, strict=True)]
    removed, _ = await asyncio.gather(asyncio.gather(*map(remove, names)), asyncio.gather(*claims))

    assert not any(removed)
    assert [one.name for one in await desks[0].registry.policies()] == names
    for name in names:
        assert await desks[0].registry.users(PolicyName(name)) == [f"lamp-{name}"]


async def test_whatever_comes_first_a_revoked_thing_has_nothing_active(desks: list[Desk]) -> None:
    token = await desks[0].token("secret")
    issues = [await desks[0].stored(token, f"lamp-{n}", f"k{n}") for n in range(12)]

    async def finish(number: int) -> object:
        name = issues[number].intent.thing
        return await desks[1].registry.activate(issues[number].intent.id, desks[1].done(name))

    orders = [desks[2].order(f"lamp-{n}", ThingStatus.REVOKED) for n in range(12)]
    outcomes = await asyncio.gather(*map(finish, range(12)), *orders, return_exceptions=True)

    assert not [one for one in outcomes if isinstance(one, Exception) and not isinstance(one, KeybornError)]
    for number in range(12):
        name = ThingName(f"lamp-{number}")
        assert (await desks[0].thing(name)).status is ThingStatus.REVOKED
        (certificate,) = await desks[0].registry.certificates(name)
        assert certificate.status is CertificateStatus.REVOKED
    assert await desks[0].registry.leftovers(before=desks[0].now + LIFETIME) == []


@pytest.mark.whole
async def test_processes_that_chain_at_once_make_one_chain(desks: list[Desk]) -> None:
    for number in range(120):
        await desks[number % PROCESSES].registry.append(desks[0].done(f"lamp-{number}"))

    pages = await asyncio.gather(*(desk.registry.records() for desk in desks for _ in range(2)))

    assert all(list(page) == list(pages[0]) for page in pages)
    assert verify(pages[0]).sequence == 120
    assert [one.event.subject for one in pages[0]] == [f"lamp-{number}" for number in range(120)], (
        "in the order in which they were put down: these processes share a clock"
    )


async def test_a_default_policy_that_is_put_at_every_start_is_one_version(desks: list[Desk]) -> None:
    await asyncio.gather(*(desk.put(DEFAULT_POLICY, shipped=True) for desk in desks for _ in range(4)))

    (policy,) = await desks[0].registry.policies()
    assert policy.version == 1
    assert len(await desks[0].registry.records()) == 1
