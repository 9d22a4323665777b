"""Whatever befalls one call of an enrollment: the device's retry ends with exactly one certificate.

The walk is enumerated by the code: an enrollment is made once to list its calls, then once for each call and
each fault. The fault lasts: it meets that call and its repeats until the caller gives up or dies; then the
same request comes again, to another process, when the lease is over. Without a retry the sweeper leaves
nothing of it, or all of it where only the answer was lost.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from keyborn.domain.errors import Unavailable
from support import ministack
from support.aws_faults import ENDLESS, Fault, Faults, Killed, Plan
from support.aws_saga import IMPATIENT, LAMP, LEASE, Stage, make_stage
from support.figures import Figure

HOUR = timedelta(hours=1)
FAULTS = (Fault.THROTTLED, Fault.BROKEN, Fault.UNSENT, Fault.UNHEARD, Fault.KILLED)
Place = tuple[str, str, int]
"""Service, operation, and the call's number; calls to AWS IoT run side by side and go by their names."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A stand-in of this file's own: everything in it is forgotten before each case."""
    stack = ministack.start()
    yield make_stage(stack)
    stack.stop()


async def places(stage: Stage) -> list[Place]:
    """Every call of an enrollment."""
    await stage.prepare()
    stage.dynamodb.plan()
    stage.iot.plan()
    async with stage.process() as process:
        await process.enroll(stage.csr)
    table = [(call.service, call.operation, call.number) for call in stage.dynamodb.calls]
    return table + sorted((call.service, call.operation, 0) for call in stage.iot.calls)


def plan_of(stage: Stage, place: Place, fault: Fault) -> tuple[Faults, Plan]:
    service, operation, number = place
    if service == "dynamodb":
        return stage.dynamodb, Plan(fault, first=number, times=ENDLESS)
    return stage.iot, Plan(fault, times=ENDLESS, operations={operation})


async def meet(stage: Stage, place: Place, fault: Fault) -> str | None:
    """One enrollment that meets a fault; the certificate, if it came to one all the same."""
    await stage.prepare()
    faults, plan = plan_of(stage, place, fault)
    async with stage.process(patience=IMPATIENT) as process:
        with faults.planned(plan), suppress(Unavailable, Killed):
            return (await process.enroll(stage.csr)).certificate.id
    return None


async def retry(stage: Stage) -> str:
    """The same device again, when the lease is over."""
    stage.clock.ahead += LEASE + timedelta(seconds=1)
    async with stage.process() as process:
        return (await process.enroll(stage.csr)).certificate.id


async def assert_nothing_owed(stage: Stage) -> None:
    async with stage.process() as process:
        assert await process.registry.owed(before=stage.clock.now() + HOUR) == []
        assert await process.registry.dirt() == []


async def sweep(stage: Stage) -> None:
    """Two runs: the first one drops what is overdue, the second one finds what that may have left."""
    for _ in range(2):
        settled = await stage.settle(HOUR)
        assert settled.troubles == []
    await assert_nothing_owed(stage)


async def assert_retried(stage: Stage, place: Place, fault: Fault) -> None:
    given = await meet(stage, place, fault)
    assert len(stage.active()) <= 1
    again = await retry(stage)
    assert given in (None, again)
    stage.assert_enrolled(again)
    await sweep(stage)
    assert stage.certificates() == {again: "ACTIVE"}
    assert stage.principals() == [again]
    stage.assert_enrolled(again)


async def assert_swept(stage: Stage, place: Place, fault: Fault) -> None:
    await meet(stage, place, fault)
    async with stage.process() as process:
        open_intents = await process.registry.leftovers(before=stage.clock.now() + HOUR)
        thing = await process.registry.thing(LAMP)
    await sweep(stage)
    stage.assert_foreign_untouched()
    if thing is not None and not open_intents:
        stage.assert_enrolled(*stage.certificates())
    else:
        assert stage.certificates() == {}
        assert stage.thing_names() == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_any_fault_the_retry_ends_with_one_certificate(
    stage: Stage, fault: Fault, figure: Figure
) -> None:
    found = await places(stage)
    for place in found:
        try:
            await assert_retried(stage, place, fault)
        except BaseException as error:
            error.add_note(f"{fault} at {place}")
            raise
    figure(f"AWS saga, {fault}, then a retry: {len(found)} calls, each ends with one certificate")


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_any_fault_without_a_retry_the_sweeper_leaves_no_orphan(
    stage: Stage, fault: Fault, figure: Figure
) -> None:
    found = await places(stage)
    for place in found:
        try:
            await assert_swept(stage, place, fault)
        except BaseException as error:
            error.add_note(f"{fault} at {place}")
            raise
    figure(f"AWS saga, {fault}, no retry: {len(found)} calls, the sweeper leaves no orphan")
