"""Whatever befalls one call of a renewal: the device ends with exactly one certificate, and never has none.

The walk is enumerated by the code: a renewal and its confirmation are made once to list their calls. Then
comes one for each call and each fault; the fault lasts, from that call on, until the caller gives up or dies.
Then the device comes again, to other processes, while the sweeper runs; or it never comes again. All that
counts is what AWS IoT itself lists.

`make test` samples the walk so that each call and each fault is met; `make test-full` walks all of it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import pytest

from keyborn.adapters.aws.calls import within
from keyborn.domain.certificate import Slot
from keyborn.domain.errors import BadNonce, Queued, Unavailable
from keyborn.domain.renewal import OVERLAP
from support.aws_faults import ENDLESS, Fault, Faults, Killed, Plan
from support.aws_saga import IMPATIENT, LAMP, Process, Stage
from support.figures import Figure
from support.signing import NextKey, Signer
from support.walks import FULL

SHARE = 1 if FULL else 14
HOUR, PAUSE = timedelta(hours=1), timedelta(seconds=30)
FAULTS = (Fault.THROTTLED, Fault.BROKEN, Fault.UNSENT, Fault.UNHEARD, Fault.KILLED)
RENEW, CONFIRM = "renew", "confirm"


@dataclass(frozen=True, slots=True)
class Case:
    """In a phase, from which call of which service on, what happens."""

    phase: str
    service: str
    first: int
    fault: Fault

    @property
    def name(self) -> str:
        """For a note on what fails."""
        return f"{self.fault} at {self.phase}: {self.service} {self.first}"


@dataclass(slots=True)
class Device:
    """What a device knows of its renewal; it survives every process of the service."""

    first: Signer
    following: NextKey
    next: Signer | None = None
    done: bool = False

    async def renew(self, process: Process) -> None:
        """Ask for the successor."""
        given = (await process.renew(self.first, self.following)).certificate
        assert self.next is None or self.next.certificate_id == given.id, "the same key, the same certificate"
        self.next = self.following.with_certificate(given.id)

    async def confirm(self, process: Process) -> None:
        """Confirm it."""
        assert self.next is not None
        confirmed = await process.confirm(self.next)
        assert (confirmed.id, confirmed.slot) == (self.next.certificate_id, Slot.CURRENT)
        self.done = True

    async def go_on(self, process: Process) -> None:
        """What is to be done next, as the device knows."""
        if self.next is None:
            await self.renew(process)
        await self.confirm(process)


def clients(stage: Stage) -> dict[str, Faults]:
    """All that a renewal calls with."""
    return {"dynamodb": stage.dynamodb, "iot": stage.iot, "line": stage.line}


@pytest.fixture
def stage(ground: Stage) -> Stage:
    """An account; each case begins it anew."""
    return ground


async def begin(stage: Stage) -> Device:
    await stage.prepare()
    signer = await stage.device()
    return Device(signer, signer.next_key())


async def calls(stage: Stage) -> dict[tuple[str, str], list[str]]:
    """The operations of each phase, by service."""
    device = await begin(stage)
    found: dict[tuple[str, str], list[str]] = {}
    for phase, step in ((RENEW, device.renew), (CONFIRM, device.confirm)):
        for client in clients(stage).values():
            client.plan()
        async with stage.process() as process:
            await step(process)
        found |= {
            (phase, name): [one.operation for one in client.calls] for name, client in clients(stage).items()
        }
    return found


async def every(stage: Stage, fault: Fault) -> list[Case]:
    return [
        Case(phase, service, number, fault)
        for (phase, service), operations in (await calls(stage)).items()
        for number in range(len(operations))
    ]


def sample(cases: Sequence[Case], offset: int) -> list[Case]:
    """All of them, or a share."""
    return list(cases[offset % SHARE :: SHARE])


async def meet(stage: Stage, case: Case) -> Device:
    """A renewal that meets a fault in one of its phases; the phase before went well."""
    device = await begin(stage)
    if case.phase == CONFIRM:
        async with stage.process() as process:
            await device.renew(process)
    clients(stage)[case.service].plan(Plan(case.fault, first=case.first, times=ENDLESS))
    try:
        async with stage.process(patience=IMPATIENT) as process:
            with suppress(Unavailable, Queued, Killed, BadNonce):
                await (device.renew if case.phase == RENEW else device.confirm)(process)
    finally:
        for client in clients(stage).values():
            client.plan()
    assert_never_without(stage, device)
    return device


def assert_never_without(stage: Stage, device: Device) -> None:
    """One that the device has is active, and no more than two are."""
    active = set(stage.active())
    has = {device.first.certificate_id, *([device.next.certificate_id] if device.next else [])}
    assert active & has
    assert len(active) <= 2


async def come_again(stage: Stage, device: Device) -> None:
    """The same device again and again, each time to another process, while the sweeper runs."""
    for _ in range(20):
        async with stage.process() as process:
            with within(1.0), suppress(Unavailable, Queued, BadNonce):
                await device.go_on(process)
                return
        assert_never_without(stage, device)
        stage.clock.ahead += PAUSE
        assert (await stage.settle()).troubles == []
    raise AssertionError("the device was never served")


async def sweep(stage: Stage) -> None:
    for _ in range(2):
        assert (await stage.settle(HOUR)).troubles == []
    async with stage.process() as process:
        assert await process.registry.owed(before=stage.clock.now() + HOUR) == []
        assert await process.registry.dirt() == []
        assert await process.registry.leftovers(before=stage.clock.now() + HOUR) == []


async def assert_renewed(stage: Stage, case: Case) -> None:
    device = await meet(stage, case)
    await come_again(stage, device)
    assert device.next is not None
    await sweep(stage)
    assert stage.certificates() == {device.next.certificate_id: "ACTIVE"}
    assert stage.principals() == [device.next.certificate_id]
    stage.assert_enrolled(device.next.certificate_id)


async def assert_settled(stage: Stage, case: Case) -> None:
    """The device never comes again: the table and AWS IoT agree on the one certificate that it has."""
    device = await meet(stage, case)
    await sweep(stage)
    assert_never_without(stage, device)
    assert (await stage.settle(OVERLAP + HOUR)).troubles == []
    async with stage.process() as process:
        held = [one for one in await process.registry.certificates(LAMP) if one.id in stage.active()]
    assert [one.slot for one in held] == [Slot.CURRENT]
    assert stage.certificates() == {held[0].id: "ACTIVE"}
    stage.assert_enrolled(held[0].id)
    assert not device.done or device.next is None or held[0].id == device.next.certificate_id


async def walk(stage: Stage, cases: Sequence[Case], *, retried: bool) -> None:
    for case in cases:
        try:
            await (assert_renewed if retried else assert_settled)(stage, case)
        except BaseException as error:
            error.add_note(case.name)
            raise


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_after_any_fault_the_device_renews_and_one_certificate_is_left(
    stage: Stage, fault: Fault, figure: Figure
) -> None:
    found = await every(stage, fault)
    cases = sample(found, FAULTS.index(fault))
    await walk(stage, cases, retried=True)
    figure(f"AWS renewal, {fault}, then retries: {len(cases)} of {len(found)} cases, one certificate each")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_after_any_fault_without_a_retry_the_device_still_has_one_certificate(
    stage: Stage, fault: Fault, figure: Figure
) -> None:
    found = await every(stage, fault)
    cases = sample(found, FAULTS.index(fault) + 1)
    await walk(stage, cases, retried=False)
    figure(f"AWS renewal, {fault}, no retry: {len(cases)} of {len(found)} cases, one certificate each")


async def test_the_calls_of_a_renewal_and_of_its_confirmation(stage: Stage, figure: Figure) -> None:
    found = await calls(stage)
    assert found[RENEW, "dynamodb"] == [
        "GetItem",  # the key of nonces, once for each instance
        "GetItem",  # whose key signed
        "PutItem",  # the nonce is spent
        "TransactGetItems",
        "TransactWriteItems",
        "TransactWriteItems",
        "TransactWriteItems",
    ]
    assert sorted(found[RENEW, "iot"]) == [
        "AttachPolicy",
        "AttachThingPrincipal",
        "CreateCertificateFromCsr",
        "CreateThing",
        "UpdateCertificate",
    ]
    assert found[RENEW, "line"] == ["UpdateItem"]
    assert found[CONFIRM, "dynamodb"][-1] == "TransactWriteItems"
    assert (found[CONFIRM, "iot"], found[CONFIRM, "line"]) == (["UpdateCertificate"], [])
    counts = ", ".join(
        f"{len(operations)} {service}" for (phase, service), operations in found.items() if phase == RENEW
    )
    figure(
        f"AWS: calls of a renewal: {counts}; to confirm: {len(found[CONFIRM, 'dynamodb'])} dynamodb, 1 iot"
    )
