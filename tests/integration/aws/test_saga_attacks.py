"""What an attacker, or a neighbour in the same account, might turn to his own use."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from keyborn.domain.errors import ThingNameTaken, Unavailable
from keyborn.domain.thing import ThingStatus
from support.aws_faults import ENDLESS, Fault, Plan
from support.aws_saga import ACCOUNT, LAMP, LEASE, Process, Stage
from support.csr_make import make_csr


@pytest.fixture
async def stage(ground: Stage) -> Stage:
    """An account with the service, and nobody enrolled."""
    await ground.prepare()
    return ground


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


@pytest.mark.parametrize("kind", ["", "other-device"])
async def test_a_thing_of_somebody_else_s_is_not_enrolled_under(
    stage: Stage, one: Process, kind: str
) -> None:
    """Its name would give the rights of its groups, and its client id."""
    typed = {}
    if kind:
        stage.iot.client.create_thing_type(thingTypeName=kind)
        typed = {"thingTypeName": kind}
    stage.iot.client.create_thing(thingName=LAMP, **typed)
    with pytest.raises(ThingNameTaken, match="not made by this stack"):
        await one.enroll(stage.csr)
    assert stage.active() == []
    assert stage.principals() == []
    await stage.settle(timedelta(hours=1))
    assert stage.certificates() == {}
    assert stage.thing_names() == [LAMP]


async def test_a_thing_that_we_made_and_somebody_edited_is_still_ours(stage: Stage, one: Process) -> None:
    await one.enroll(stage.csr)
    await one.registry.set_status(LAMP, ThingStatus.REVOKED, stage.event("order"))
    changed = {"attributes": {"room": "hall"}}
    stage.iot.client.update_thing(thingName=LAMP, attributePayload=changed)
    swap = await stage.token(one, "swap", pattern=LAMP, replaces=True)
    second = await one.enroll(make_csr(LAMP)[1], secret=swap)
    assert stage.active() == [second.certificate.id]


async def test_what_died_after_its_thing_was_made_goes_on_with_it(stage: Stage, one: Process) -> None:
    plan = Plan(Fault.BROKEN, operations={"CreateCertificateFromCsr"}, times=ENDLESS)
    with stage.iot.planned(plan), pytest.raises(Unavailable):
        await one.enroll(stage.csr, {"room": "kitchen"})
    assert stage.thing_names() == [LAMP]
    async with stage.process() as another:
        given = await another.enroll(stage.csr, {"room": "kitchen"})
    stage.assert_enrolled(given.certificate.id)


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


async def test_what_is_being_signed_is_no_stray_however_many_others_are_open(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage thousands of intents are open, and those at work are the youngest of them."""
    monkeypatch.setattr("keyborn.ports.MAX_PAGE", 1)
    broken = Plan(Fault.BROKEN, operations={"CreateCertificateFromCsr"}, times=ENDLESS)
    stage.clock.ahead = -timedelta(minutes=6, seconds=10)
    async with stage.process() as first, stage.process() as slow:
        with stage.iot.planned(broken), pytest.raises(Unavailable):
            await first.enroll(make_csr("lamp-0")[1], name="lamp-0")
        await stage.settle(timedelta(minutes=6))
        with stage.iot.planned(broken), pytest.raises(Unavailable):
            await first.enroll(stage.csr)
        stage.clock.ahead = timedelta(0)
        with stage.held("after-call.iot.CreateCertificateFromCsr") as (came, go):
            enrolling = asyncio.create_task(slow.enroll(stage.csr))
            await asyncio.wait_for(came.wait(), 20)
            assert (await stage.settle(timedelta(seconds=8))).strays == 0
            go.set()
            given = await enrolling
    assert stage.active() == [given.certificate.id]


async def test_a_certificate_of_a_stack_whose_name_begins_like_ours_is_left_alone(
    stage: Stage, one: Process
) -> None:
    """Its policies begin like ours, then; a device may try one stack and be taken in by the other."""
    plan = Plan(Fault.UNHEARD, operations={"CreateCertificateFromCsr"}, times=ENDLESS)
    with stage.iot.planned(plan), pytest.raises(Unavailable):
        await one.enroll(stage.csr)
    (theirs,) = stage.certificates()
    arn, named = f"{ACCOUNT.prefix}:cert/{theirs}", f"{ACCOUNT.policy_prefix}eu-keyborn-default"
    stage.iot.client.create_policy(policyName=named, policyDocument='{"Version": "2012-10-17"}')
    stage.iot.client.attach_policy(policyName=named, target=arn)
    for _ in range(2):
        await stage.settle(timedelta(hours=1))
    assert list(stage.certificates()) == [theirs]
    assert stage.policies(theirs) == [named]


async def test_an_activation_that_a_frozen_instance_sends_after_the_revoke_is_undone(stage: Stage) -> None:
    """Lambda freezes it once it has answered; what it had signed by then, AWS takes for five minutes."""
    async with stage.process() as frozen, stage.process() as operator:
        with stage.held("before-send.iot.UpdateCertificate") as (came, go):
            enrolling = asyncio.create_task(frozen.enroll(stage.csr))
            await asyncio.wait_for(came.wait(), 20)
            await is_stored(operator)
            enrolling.cancel()
            await asyncio.wait([enrolling])
            await stage.settle(LEASE + timedelta(minutes=1))
            await operator.registry.set_status(LAMP, ThingStatus.REVOKED, stage.event("order"))
            go.set()
    for _ in range(1000):  # what was held goes on in a thread of its own
        if stage.active():
            break
        await asyncio.sleep(0.01)
    assert len(stage.active()) == 1, "it came late"
    await stage.settle(timedelta(minutes=6))
    assert stage.active() == []
