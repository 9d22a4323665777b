"""Whatever befalls one call of an enrollment: the device's retry ends with exactly one certificate.

The walk is enumerated by the code: an enrollment is made once to list its calls, and which of them are under
way together. Then comes one enrollment for each call and each fault. The fault lasts: it meets that call and
its repeats until the caller gives up or dies. Of a process that dies while several calls are under way any
of them may have had their effect: all these are tried, too. Then the device comes again, to other processes,
while the sweeper runs every minute; or it never comes again. All that counts is what AWS IoT itself lists.
The device enrolls in a group of one place, and in the end the group has counted it once, or not at all.

`make test` samples the walk so that each call and each fault is met; `make test-full` walks all of it.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise, product

import pytest

from keyborn.adapters.aws.calls import within
from keyborn.domain.errors import Queued, Unavailable
from keyborn.domain.group import GroupDocument
from support.aws_faults import ENDLESS, Call, Fault, Faults, Killed, Plan
from support.aws_saga import IMPATIENT, LAMP, LEASE, Process, Stage
from support.figures import Figure
from support.grouping_cases import LINE, Rule, hourly
from support.walks import FULL

SHARE = 1 if FULL else 14
HOUR, MINUTE, PAUSE = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=10)
HOLD = 0.3
EVERY = "every"
FAULTS = (Fault.THROTTLED, Fault.BROKEN, Fault.UNSENT, Fault.UNHEARD, Fault.KILLED)


@dataclass(frozen=True, slots=True)
class Place:
    """One call of an enrollment. Those to the table come one after the other, by number; others by name."""

    service: str
    operation: str
    number: int = 0

    def plan(self, fault: Fault) -> Plan:
        """The fault from this call on."""
        if self.service == "dynamodb" or self.operation == EVERY:
            return Plan(fault, first=self.number, times=ENDLESS)
        return Plan(fault, times=ENDLESS, operations={self.operation})


def clients(stage: Stage) -> dict[str, Faults]:
    """All that an enrollment calls with: its table, AWS IoT, and the line of admission beside the table."""
    return {"dynamodb": stage.dynamodb, "iot": stage.iot, "line": stage.line}


@dataclass(frozen=True, slots=True)
class Case:
    """What befalls which calls."""

    name: str
    faults: tuple[tuple[Place, Fault], ...]

    def lay(self, stage: Stage) -> None:
        """From now on."""
        for service, client in clients(stage).items():
            client.plan(*(place.plan(fault) for place, fault in self.faults if place.service == service))


@pytest.fixture
def stage(ground: Stage) -> Stage:
    """An account; each case begins it anew."""
    return ground


async def prepare(stage: Stage) -> None:
    """Begin anew, with a group."""
    await stage.prepare()
    async with stage.process() as office:
        document = GroupDocument(LINE, "", stage.clock.now())
        await office.registry.put_group(document, stage.event("group.put"))


async def enroll(stage: Stage, process: Process) -> str:
    """The device's request; the certificate."""
    terms = Rule(limit=1, rate=hourly(1)).terms(stage.clock.now())
    return (await process.enroll(stage.csr, terms=terms)).certificate.id


async def taken(stage: Stage) -> list[int]:
    """How many the group has counted, and how often the token was redeemed."""
    async with stage.process() as process:
        [use] = await process.registry.groups()
        [token] = await process.registry.tokens()
    return [use.taken, token.uses_taken]


async def waves(stage: Stage) -> list[list[Place]]:
    """Every call of an enrollment, those together that are under way together: each is held up a while."""
    await prepare(stage)
    begun: list[tuple[float, str, str]] = []

    def hold(service: str, event_name: str, **_: object) -> None:
        begun.append((time.monotonic(), service, event_name))
        time.sleep(HOLD)

    holds = {name: partial(hold, name) for name in clients(stage)}
    async with stage.process() as process:
        for name, faults in clients(stage).items():
            faults.client.meta.events.register_first("before-send", holds[name])
        await enroll(stage, process)
        for name, faults in clients(stage).items():
            faults.client.meta.events.unregister("before-send", holds[name])
    begun.sort()
    found: list[list[Place]] = [[]]
    for (before, *_), (moment, service, event) in pairwise([(begun[0][0], "", ""), *begun]):
        if moment - before > HOLD / 2:
            found.append([])
        operation = event.rpartition(".")[2]
        number = sum(place.service == "dynamodb" for wave in found for place in wave)
        found[-1].append(Place(service, operation, number if service == "dynamodb" else 0))
    return found


def single(found: Sequence[Sequence[Place]], fault: Fault) -> list[Case]:
    """The fault at each call; and at AWS IoT from its first, second … call on, whichever that is."""
    calls = [place for wave in found for place in wave]
    to_iot = sum(place.service == "iot" for place in calls)
    outages = [Place("iot", EVERY, number) for number in range(to_iot)]
    return [
        Case(f"{fault} at {place.operation} {place.number}", ((place, fault),)) for place in calls + outages
    ]


def deaths(found: Sequence[Sequence[Place]]) -> list[Case]:
    """The process dies while a wave is under way, of which any calls may have had their effect."""
    return [
        Case(
            "killed when there was " + (", ".join(_done(wave, fates)) or "nothing yet"),
            tuple(zip(wave, fates, strict=True)),
        )
        for wave in found
        for fates in product((Fault.KILLED, Fault.KILLED_BEFORE), repeat=len(wave))
    ]


def _done(wave: Sequence[Place], fates: Sequence[Fault]) -> list[str]:
    pairs = zip(wave, fates, strict=True)
    return [f"{place.operation} {place.number}" for place, fate in pairs if fate is Fault.KILLED]


def sample(cases: Sequence[Case], offset: int = 0) -> list[Case]:
    """All of them, or a share."""
    return list(cases[offset % SHARE :: SHARE])


async def meet(stage: Stage, case: Case) -> str | None:
    """One enrollment that meets a fault; the certificate, if it came to one all the same."""
    await prepare(stage)
    case.lay(stage)
    try:
        async with stage.process(patience=IMPATIENT) as process:
            with suppress(Unavailable, Queued, Killed):
                return await enroll(stage, process)
        return None
    finally:
        for faults in clients(stage).values():
            faults.plan()


async def come_again(stage: Stage) -> str:
    """The same device again and again, each time to another process, while the sweeper runs every minute.

    At no moment is more than one certificate active.
    """
    swept = stage.clock.now()
    for _ in range(20):
        async with stage.process() as process:
            with within(0.4), suppress(Unavailable, Queued):
                return await enroll(stage, process)
        assert len(stage.active()) <= 1
        stage.clock.ahead += PAUSE
        if stage.clock.now() - swept >= MINUTE:
            swept = stage.clock.now()
            assert (await stage.settle()).troubles == []
    raise AssertionError("the device was never served")


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


async def assert_retried(stage: Stage, case: Case) -> None:
    given = await meet(stage, case)
    assert len(stage.active()) <= 1
    again = await come_again(stage)
    assert given in (None, again)
    stage.assert_enrolled(again)
    await sweep(stage)
    assert stage.certificates() == {again: "ACTIVE"}
    assert stage.principals() == [again]
    stage.assert_enrolled(again)
    assert await taken(stage) == [1, 1]


async def assert_swept(stage: Stage, case: Case) -> None:
    """Nothing is active a minute after the lease is over, unless all was done; in the end nothing is left."""
    await meet(stage, case)
    async with stage.process() as process:
        open_intents = await process.registry.leftovers(before=stage.clock.now() + HOUR)
        thing = await process.registry.thing(LAMP)
    complete = thing is not None and not open_intents
    assert (await stage.settle(LEASE)).troubles == []
    assert len(stage.active()) == (1 if complete else 0)
    await sweep(stage)
    stage.assert_foreign_untouched()
    assert await taken(stage) == [complete, complete]
    if complete:
        stage.assert_enrolled(*stage.certificates())
    else:
        assert stage.certificates() == {}
        assert stage.thing_names() == []


async def walk(stage: Stage, cases: Sequence[Case], *, retried: bool) -> None:
    for case in cases:
        try:
            await (assert_retried if retried else assert_swept)(stage, case)
        except BaseException as error:
            error.add_note(case.name)
            raise


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.UNREACHED])
async def test_what_surely_was_not_done_is_done_again_at_once(
    stage: Stage, fault: Fault, figure: Figure
) -> None:
    """One call in a row is refused: the device does not notice."""
    calls = 0
    for client in clients(stage).values():
        for call in await calls_of(stage, client):
            await prepare(stage)
            async with stage.process() as process:
                with client.planned(Plan(fault, first=call.number)):
                    given = await enroll(stage, process)
            stage.assert_enrolled(given)
            assert stage.certificates() == {given: "ACTIVE"}
            calls += 1
    figure(f"AWS saga, {fault} once: {calls} calls, the same attempt succeeds")


async def calls_of(stage: Stage, client: Faults) -> list[Call]:
    await prepare(stage)
    async with stage.process() as process:
        with client.listening() as calls:
            await enroll(stage, process)
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_after_any_fault_the_retry_ends_with_one_certificate(
    stage: Stage, fault: Fault, figure: Figure
) -> None:
    every = single(await waves(stage), fault)
    cases = sample(every, FAULTS.index(fault))
    await walk(stage, cases, retried=True)
    figure(f"AWS saga, {fault}, then retries: {len(cases)} of {len(every)} cases, one certificate each")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_after_any_fault_without_a_retry_the_sweeper_leaves_no_orphan(
    stage: Stage, fault: Fault, figure: Figure
) -> None:
    every = single(await waves(stage), fault)
    cases = sample(every, FAULTS.index(fault) + 1)
    await walk(stage, cases, retried=False)
    figure(f"AWS saga, {fault}, no retry: {len(cases)} of {len(every)} cases, no orphan after the sweep")


@pytest.mark.slow
@pytest.mark.parametrize("retried", [True, False], ids=["retried", "given up"])
async def test_whatever_was_done_when_the_process_died_nothing_of_it_stays_active(
    stage: Stage,
    retried: bool,  # noqa: FBT001 - a parameter of the walk
    figure: Figure,
) -> None:
    every = deaths(await waves(stage))
    cases = sample(every, int(retried))
    await walk(stage, cases, retried=retried)
    word = "then retries" if retried else "no retry"
    figure(f"AWS saga, killed in mid-air, {word}: {len(cases)} of {len(every)} sets of effects, all settled")


async def test_the_round_trips_of_an_enrollment_one_after_the_other(stage: Stage, figure: Figure) -> None:
    found = await waves(stage)
    calls = sum(map(len, found))
    figure(f"AWS: {calls} calls in {len(found)} round trips")
    assert [sorted(place.operation for place in wave) for wave in found] == [
        ["TransactWriteItems", "UpdateItem"],
        ["CreateCertificateFromCsr", "CreateThing"],
        ["AttachPolicy", "AttachThingPrincipal", "TransactWriteItems", "UpdateCertificate"],
        ["TransactWriteItems"],
    ]
