"""What somebody deleted by hand in AWS IoT, and orders that were broken off between the table and there."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from keyborn.domain.errors import AwsRefused, NotFound, Unavailable
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from support.aws_faults import ENDLESS, Fault, Plan
from support.aws_saga import IMPATIENT, LAMP, Process, Stage
from support.csr_make import make_csr

HOUR = timedelta(hours=1)
FLEET = PolicyName("fleet")


@pytest.fixture
async def stage(ground: Stage) -> Stage:
    """An account with the service, and nobody enrolled."""
    await ground.prepare()
    return ground


@pytest.fixture
async def one(stage: Stage) -> AsyncIterator[Process]:
    """A process that soon gives up."""
    async with stage.process(patience=IMPATIENT) as process:
        yield process


def delete_by_hand(stage: Stage, certificate: str) -> None:
    """An administrator takes a device's certificate away, past Keyborn."""
    iot = stage.iot.client
    arn = iot.describe_certificate(certificateId=certificate)["certificateDescription"]["certificateArn"]
    iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
    iot.detach_policy(policyName=f"kb-{DEFAULT_POLICY}", target=arn)
    iot.detach_thing_principal(thingName=LAMP, principal=arn)
    iot.delete_certificate(certificateId=certificate)


async def broken_off(stage: Stage, one: Process, order: str) -> None:
    """An order that AWS IoT does not hear."""
    registry, event = one.registry, stage.event()
    calls = {
        "suspend": lambda: registry.set_status(LAMP, ThingStatus.SUSPENDED, event),
        "attach": lambda: registry.attach_policy(LAMP, FLEET, event),
    }
    with stage.iot.planned(Plan(Fault.BROKEN, times=ENDLESS)), pytest.raises(Unavailable):
        await calls[order]()


@pytest.mark.parametrize("order", ["suspend", "attach"])
async def test_what_is_owed_to_a_certificate_that_is_gone_is_settled(
    stage: Stage, one: Process, order: str
) -> None:
    given = (await one.enroll(stage.csr)).certificate
    await stage.put(one, FLEET)
    await broken_off(stage, one, order)
    delete_by_hand(stage, given.id)

    assert (await stage.settle(HOUR)).troubles == []
    assert await one.registry.owed(before=stage.clock.now() + HOUR) == []


async def test_a_policy_that_is_gone_stays_a_trouble_as_long_as_the_certificate_is_there(
    stage: Stage, one: Process
) -> None:
    await one.enroll(stage.csr)
    await stage.put(one, FLEET)
    await broken_off(stage, one, "attach")
    stage.iot.client.delete_policy(policyName=f"kb-{FLEET}")

    assert (await stage.settle(HOUR)).troubles == ["aws_refused (iot:AttachPolicy)"]
    assert len(await one.registry.owed(before=stage.clock.now() + HOUR)) == 1


async def test_who_activates_a_thing_whose_certificate_is_gone_is_told_so(stage: Stage, one: Process) -> None:
    given = (await one.enroll(stage.csr)).certificate
    await one.registry.set_status(LAMP, ThingStatus.SUSPENDED, stage.event())
    delete_by_hand(stage, given.id)
    with pytest.raises(AwsRefused):
        await one.registry.set_status(LAMP, ThingStatus.ACTIVE, stage.event())

    assert (await stage.settle(HOUR)).troubles == []


async def test_an_enrolment_whose_certificate_is_deleted_meanwhile_fails(stage: Stage, one: Process) -> None:
    def vanish(params: dict[str, str], **_: object) -> None:
        params["certificateId"] = "0" * 64

    events = stage.iot.client.meta.events
    events.register("provide-client-params.iot.UpdateCertificate", vanish)
    try:
        with pytest.raises(AwsRefused):
            await one.enroll(make_csr("lamp-3")[1], name=ThingName("lamp-3"))
    finally:
        events.unregister("provide-client-params.iot.UpdateCertificate", vanish)
    assert stage.active() == []


# ── policies ──────────────────────────────────────────────────────────────────────────────────────────


def in_iot(stage: Stage) -> list[str]:
    return sorted(one["policyName"] for one in stage.iot.client.list_policies()["policies"])


async def test_the_removal_of_a_policy_that_failed_in_iot_is_carried_out_by_a_repeat(
    stage: Stage, one: Process
) -> None:
    await stage.put(one, FLEET)
    broken = Plan(Fault.BROKEN, times=ENDLESS, operations=["DeletePolicy"])
    with stage.iot.planned(broken), pytest.raises(Unavailable):
        await one.registry.remove_policy(FLEET, stage.event())
    assert f"kb-{FLEET}" in in_iot(stage)

    await one.registry.remove_policy(FLEET, stage.event())
    assert in_iot(stage) == [f"kb-{DEFAULT_POLICY}"]
    with pytest.raises(NotFound):
        await one.registry.remove_policy(FLEET, stage.event())


async def test_a_policy_that_was_put_again_while_it_was_removed_is_there(stage: Stage, one: Process) -> None:
    await stage.put(one, FLEET)
    with stage.held("before-call.iot.DeletePolicy") as (came, go):
        removal = asyncio.create_task(one.registry.remove_policy(FLEET, stage.event()))
        await asyncio.wait_for(came.wait(), 20)
        await stage.put(one, FLEET)
        go.set()
        await removal
    text = stage.iot.client.get_policy(policyName=f"kb-{FLEET}")["policyDocument"]
    kept = await one.registry.policy(FLEET)
    assert kept is not None
    assert text == kept.document.text
