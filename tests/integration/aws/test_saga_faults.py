"""Whatever befalls one call of an enrollment: the device's retry ends with exactly one certificate.

The walk is enumerated by the code: an enrollment is made once to list its calls, then once for each call and
each fault. The fault lasts: it meets that call and its repeats until the caller gives up or dies; then the
same request comes again, to another process, when the lease is over. Without a retry the sweeper leaves
nothing of it, or all of it where only the answer was lost.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import pytest

from keyborn.domain.errors import Unavailable
from support import ministack
from support.aws_faults import ENDLESS, Fault, Faults, Killed, Plan
from support.aws_saga import IMPATIENT, LAMP, LEASE, Stage, make_stage
from support.figures import Figure

HOUR = timedelta(hours=1)
HOLD = 0.3
EVERY = "every"
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


def outages(found: list[Place]) -> list[Place]:
    """AWS IoT fails from its first, second … call on, whichever that is."""
    calls = [place for place in found if place[0] == "iot"]
    return [("iot", EVERY, number) for number in range(len(calls))]


def plan_of(stage: Stage, place: Place, fault: Fault) -> tuple[Faults, Plan]:
    service, operation, number = place
    if service == "dynamodb":
        return stage.dynamodb, Plan(fault, first=number, times=ENDLESS)
    if operation == EVERY:
        return stage.iot, Plan(fault, first=number, times=ENDLESS)
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


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.UNREACHED])
async def test_what_surely_was_not_done_is_done_again_at_once(
    stage: Stage, fault: Fault, figure: Figure
) -> None:
    """One call in a row is refused: the device does not notice."""
    found = await places(stage)
    for number, (service, _, _) in enumerate(found):
        await stage.prepare()
        faults = stage.dynamodb if service == "dynamodb" else stage.iot
        first = number if service == "dynamodb" else number - len(stage_calls(found))
        async with stage.process() as process:
            with faults.planned(Plan(fault, first=first)):
                given = await process.enroll(stage.csr)
        stage.assert_enrolled(given.certificate.id)
        assert stage.certificates() == {given.certificate.id: "ACTIVE"}
    figure(f"AWS saga, {fault} once: {len(found)} calls, the same attempt succeeds")


def stage_calls(found: list[Place]) -> list[Place]:
    """Those to the table."""
    return [place for place in found if place[0] == "dynamodb"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_any_fault_the_retry_ends_with_one_certificate(
    stage: Stage, fault: Fault, figure: Figure
) -> None:
    found = await places(stage)
    found += outages(found)
    for place in found:
        try:
            await assert_retried(stage, place, fault)
        except BaseException as error:
            error.add_note(f"{fault} at {place}")
            raise
    figure(f"AWS saga, {fault}, then a retry: {len(found)} cases, each ends with one certificate")


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


async def test_the_round_trips_of_an_enrollment_one_after_the_other(stage: Stage, figure: Figure) -> None:
    """Each call is held up for a while, so that those that go together are seen to."""
    await stage.prepare()
    begun: list[float] = []

    def hold(**_: object) -> None:
        begun.append(time.monotonic())
        time.sleep(HOLD)

    clients = (stage.dynamodb.client, stage.iot.client)
    async with stage.process() as process:
        for client in clients:
            client.meta.events.register_first("before-send", hold)
        await process.enroll(stage.csr)
        for client in clients:
            client.meta.events.unregister("before-send", hold)
    begun.sort()
    waves = 1 + sum(later - earlier > HOLD / 2 for earlier, later in pairwise(begun))
    figure(f"AWS: {len(begun)} calls in {waves} round trips, one of them for a token not known yet")
    assert waves == 5
