"""What an attacker, or a neighbour in the same account, might turn to his own use."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from support import ministack
from support.aws_saga import ACCOUNT, LAMP, LEASE, Process, Stage, make_stage


@pytest.fixture(scope="module")
def shared_stage() -> Iterator[Stage]:
    """A stand-in of this file's own: everything in it is forgotten before each test."""
    stack = ministack.start()
    yield make_stage(stack)
    stack.stop()


@pytest.fixture
async def stage(shared_stage: Stage) -> Stage:
    """An account with the service, and nobody enrolled."""
    await shared_stage.prepare()
    return shared_stage


@pytest.fixture
async def one(stage: Stage) -> AsyncIterator[Process]:
    """A process of the service."""
    async with stage.process() as process:
        yield process


async def test_a_policy_that_an_administrator_attached_stays(stage: Stage, one: Process) -> None:
    """It may deny everything to a device in quarantine: no order of ours lifts that."""
    given = (await one.enroll(stage.csr)).certificate.id
    await stage.put(one, "extra", "Connect")
    stage.iot.client.create_policy(policyName="quarantine", policyDocument='{"Version": "2012-10-17"}')
    stage.iot.client.attach_policy(policyName="quarantine", target=f"{ACCOUNT.prefix}:cert/{given}")

    await one.registry.attach_policy(LAMP, PolicyName("extra"), stage.event())
    await one.registry.detach_policy(LAMP, DEFAULT_POLICY, stage.event())

    assert stage.policies(given) == ["kb-extra", "quarantine"]


async def is_stored(one: Process) -> None:
    """Wait until the table has the certificate of the one enrollment that is under way."""
    for _ in range(1000):
        if (await one.registry.waiting())[0].staged is not None:
            return
        await asyncio.sleep(0.01)
    pytest.fail("it is not stored")


async def test_a_policy_that_is_taken_while_it_is_being_given_is_taken(stage: Stage) -> None:
    """AttachPolicy is throttled for seconds in a storm: the order comes when the certificate is stored."""
    async with stage.process() as slow, stage.process() as operator:
        with stage.held("before-send.iot.AttachPolicy") as (came, go):
            enrolling = asyncio.create_task(slow.enroll(stage.csr))
            await asyncio.wait_for(came.wait(), 20)
            await is_stored(operator)
            await operator.registry.detach_policy(LAMP, DEFAULT_POLICY, stage.event())
            go.set()
            given = await enrolling
    await stage.settle(LEASE + timedelta(seconds=1))
    assert stage.policies(given.certificate.id) == []
