"""The sweeper: what is ours and only that, what takes away before what tidies, and within its time."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ReadTimeoutError

import keyborn.adapters.aws.stack
from keyborn.adapters.aws.calls import Patience, within
from keyborn.adapters.aws.registry import LEASE
from keyborn.adapters.aws.settle import RESERVE, Settled, Settlement
from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.adapters.aws.tempo import Tempo
from keyborn.domain.errors import ThingNameTaken, Unavailable
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import encode_secret
from keyborn.ports import Credential
from keyborn.service.enroll import EnrollmentRequest
from keyborn.service.sweep import Sweeper
from support.aws_faults import ENDLESS, Fault, Killed, Plan
from support.aws_saga import ACCOUNT, IMPATIENT, LAMP, Process, Stage
from support.csr_make import make_csr
from support.figures import Figure
from support.registry_cases import event

NO_PATIENCE = Patience(whole=0.0)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


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


async def die(stage: Stage, *operations: str, fault: Fault = Fault.KILLED) -> None:
    """A process dies after, or before, these calls."""
    async with stage.process() as process:
        with stage.iot.planned(Plan(fault, times=ENDLESS, operations=operations)), suppress(Killed):
            await process.enroll(stage.csr)


# ── what is ours ──────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_active_and_was_never_stored_goes_as_soon_as_the_lease_is_over(stage: Stage) -> None:
    """The process died when AWS IoT had activated and bound what the table had no word of."""
    stage.dynamodb.plan(Plan(Fault.KILLED_BEFORE, first=1, times=ENDLESS))
    async with stage.process() as process:
        with suppress(Killed):
            await process.enroll(stage.csr)
    stage.dynamodb.plan()
    (stray,) = stage.active()
    assert stage.principals() == [stray]

    assert (await stage.settle(LEASE - timedelta(seconds=1))).rescued == 0
    assert stage.active() == [stray], "its process might be at work"
    settled = await stage.settle(timedelta(seconds=1))
    assert (settled.rescued, settled.strays, settled.troubles) == (1, 1, [])
    assert stage.certificates() == {}
    async with stage.process() as process:
        given = await process.enroll(stage.csr)
    stage.assert_enrolled(given.certificate.id)


async def test_what_was_stored_and_not_confirmed_is_switched_off_and_used_again(stage: Stage) -> None:
    stage.dynamodb.plan(Plan(Fault.KILLED_BEFORE, first=2, times=ENDLESS))
    async with stage.process() as process:
        with suppress(Killed):
            await process.enroll(stage.csr)
    stage.dynamodb.plan()
    (known,) = stage.active()
    settled = await stage.settle(LEASE)
    assert (settled.rescued, settled.strays) == (1, 0)
    assert stage.certificates() == {known: "INACTIVE"}
    assert (await stage.settle(MINUTE)).rescued == 0, "once is enough"
    async with stage.process() as process:
        assert (await process.enroll(stage.csr)).certificate.id == known
    stage.assert_enrolled(known)


@contextmanager
def broken(stage: Stage, *operations: str) -> Iterator[None]:
    """AWS IoT answers to these with 500."""
    with stage.iot.planned(Plan(Fault.BROKEN, operations=operations, times=ENDLESS)):
        yield


async def test_a_process_that_fails_and_cannot_switch_off_leaves_it_to_the_sweeper(stage: Stage) -> None:
    """AWS IoT takes no word after ACTIVE: then the lease is not given back."""
    events = stage.iot.client.meta.events

    def refuse(request: AWSPreparedRequest, **_: object) -> None:
        if "newStatus=ACTIVE" not in request.url:
            raise ReadTimeoutError(endpoint_url=request.url)

    async with stage.process(patience=IMPATIENT) as process:
        events.register_first("before-send.iot.UpdateCertificate", refuse)
        with broken(stage, "AttachPolicy"), pytest.raises(Unavailable):
            await process.enroll(stage.csr)
        events.unregister("before-send.iot.UpdateCertificate", refuse)
        assert len(stage.active()) == 1
        (held,) = await process.registry.waiting()
        assert held.holder is not None
    settled = await stage.settle(LEASE)
    assert (settled.rescued, stage.active()) == (1, [])


async def test_a_process_that_fails_switches_off_before_it_answers(stage: Stage) -> None:
    async with stage.process(patience=IMPATIENT) as process:
        with broken(stage, "AttachPolicy"), pytest.raises(Unavailable):
            await process.enroll(stage.csr)
        assert stage.statuses() == {"INACTIVE"}
        (held,) = await process.registry.waiting()
        assert held.holder is None, "and the next one need not wait"
        again = await process.enroll(stage.csr)
    stage.assert_enrolled(again.certificate.id)


async def test_where_the_last_word_was_not_taken_nothing_is_active_when_the_answer_goes_out(
    stage: Stage,
) -> None:
    """The table did not answer to the commit, and does a moment later."""
    stage.dynamodb.plan(Plan(Fault.UNSENT, first=2, times=1))
    async with stage.process(patience=NO_PATIENCE) as process:
        with pytest.raises(Unavailable):
            await process.enroll(stage.csr)
    stage.dynamodb.plan()
    assert stage.statuses() == {"INACTIVE"}
    async with stage.process() as process:
        again = await process.enroll(stage.csr)
    assert stage.certificates() == {again.certificate.id: "ACTIVE"}


def by_hand(stage: Stage, csr: str, *, active: bool) -> str:
    """Somebody registers a CSR without Keyborn."""
    made = stage.iot.client.create_certificate_from_csr(certificateSigningRequest=csr, setAsActive=active)
    return str(made["certificateId"])


@contextmanager
def dated(stage: Stage, certificate: str, by: timedelta) -> Iterator[None]:
    """AWS IoT lists it as made so much earlier or later."""

    def move(parsed: dict[str, Any], **_: object) -> None:
        for one in parsed.get("certificates", ()):
            if one["certificateId"] == certificate:
                one["creationDate"] += by

    events = stage.iot.client.meta.events
    events.register("after-call.iot.ListCertificates", move)
    yield
    events.unregister("after-call.iot.ListCertificates", move)


@pytest.mark.parametrize("active", [False, True])
async def test_another_key_s_certificate_of_those_minutes_is_never_touched(
    stage: Stage,
    active: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    theirs = by_hand(stage, make_csr(LAMP)[1], active=active)
    await die(stage, "CreateCertificateFromCsr")
    for _ in range(2):
        await stage.settle(HOUR)
    assert stage.certificates() == {theirs: "ACTIVE" if active else "INACTIVE"}
    stage.assert_foreign_untouched()


@pytest.mark.parametrize("active", [False, True])
async def test_a_certificate_of_the_same_key_that_is_older_than_the_intent_is_not_ours(
    stage: Stage,
    active: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    theirs = by_hand(stage, stage.csr, active=active)
    with dated(stage, theirs, -timedelta(seconds=10)):
        await die(stage, "CreateCertificateFromCsr")
        for _ in range(2):
            await stage.settle(HOUR)
    assert stage.certificates() == {theirs: "ACTIVE" if active else "INACTIVE"}


async def test_a_certificate_of_the_same_key_that_came_long_after_is_not_ours(stage: Stage) -> None:
    await die(stage, "CreateCertificateFromCsr")
    theirs = by_hand(stage, stage.csr, active=True)
    with dated(stage, theirs, HOUR):
        for _ in range(2):
            await stage.settle(HOUR)
    assert stage.certificates() == {theirs: "ACTIVE"}


async def test_a_certificate_of_the_same_key_and_time_that_was_put_to_use_is_left_alone(stage: Stage) -> None:
    """Bound to another thing, or with a policy that is not ours: somebody else's work."""
    await die(stage, "CreateCertificateFromCsr")
    bound, ruled = (by_hand(stage, stage.csr, active=True) for _ in range(2))
    stage.iot.client.create_thing(thingName="theirs")
    stage.iot.client.attach_thing_principal(thingName="theirs", principal=f"{ACCOUNT.prefix}:cert/{bound}")
    stage.iot.client.create_policy(
        policyName="theirs", policyDocument='{"Version":"2012-10-17","Statement":[]}'
    )
    stage.iot.client.attach_policy(policyName="theirs", target=f"{ACCOUNT.prefix}:cert/{ruled}")
    for _ in range(2):
        await stage.settle(HOUR)
    assert stage.certificates() == {bound: "ACTIVE", ruled: "ACTIVE"}
    assert stage.policies(ruled) == ["theirs"]


async def test_one_of_the_same_key_and_seconds_that_nobody_uses_is_taken_for_ours(stage: Stage) -> None:
    """Nothing tells it from a certificate whose answer was lost."""
    await die(stage, "CreateCertificateFromCsr")
    by_hand(stage, stage.csr, active=True)
    settled = await stage.settle(LEASE)
    assert (settled.strays, stage.certificates()) == (2, {})
    stage.assert_foreign_untouched()


# ── many at once ──────────────────────────────────────────────────────────────────────────────────────


async def insist(process: Process, csr: str) -> str:
    """As a device does."""
    while True:
        try:
            return (await process.enroll(csr)).certificate.id
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_fifty_equal_requests_in_two_processes_ask_aws_to_sign_once(
    stage: Stage, figure: Figure
) -> None:
    async with stage.process(threads=32) as first, stage.process(threads=32) as second, asyncio.timeout(90):
        stage.iot.plan()
        given = await asyncio.gather(*(insist(at, stage.csr) for at in (first, second) for _ in range(25)))
    signed = sum(call.operation == "CreateCertificateFromCsr" for call in stage.iot.calls)
    assert (len(set(given)), signed) == (1, 1)
    stage.assert_enrolled(given[0])
    assert list(stage.certificates()) == [given[0]]
    figure(f"AWS: 50 equal enrollments at once: {signed} CSR signed, {len(stage.iot.calls)} calls of AWS IoT")


async def test_of_fifty_keys_for_one_name_at_once_one_wins(stage: Stage, figure: Figure) -> None:
    requests = [make_csr(LAMP)[1] for _ in range(50)]
    async with stage.process(threads=32) as first, stage.process(threads=32) as second, asyncio.timeout(90):
        stage.iot.plan()
        asked = (insist((first, second)[number % 2], csr) for number, csr in enumerate(requests))
        given = await asyncio.gather(*asked, return_exceptions=True)
    won = [one for one in given if isinstance(one, str)]
    assert len(won) == 1
    assert sum(isinstance(one, ThingNameTaken) for one in given) == 49
    signed = sum(call.operation == "CreateCertificateFromCsr" for call in stage.iot.calls)
    assert signed == 1
    stage.assert_enrolled(won[0])
    figure(f"AWS: 50 keys for one name at once: one wins, 49 are refused, {signed} CSR signed")


# ── quotas and time ───────────────────────────────────────────────────────────────────────────────────


async def fleet(stage: Stage, process: Process, count: int) -> list[str]:
    """So many devices; their certificates, in order."""
    applicant = await process.authority.authenticate(Credential(encode_secret(process.secret), "192.0.2.1"))
    found: list[str] = []
    for number in range(count):
        name = ThingName(f"lamp-{number}")
        request = EnrollmentRequest(name, make_csr(name)[1], "192.0.2.1")
        found.append((await process.authority.enroll(applicant, request)).certificate.id)
    stage.clock.ahead += LEASE
    return found


async def settle_within(stage: Stage, seconds: float, per_second: float) -> Settled:
    """A run with a deadline and a pace."""
    async with stage.process() as one:
        settlement = Settlement(
            registry=one.registry,
            iot=one.iot,
            clock=stage.clock,
            sweep=Sweeper(leftovers=one.registry, clock=stage.clock).sweep,
            updates=Tempo(per_second, reserve=RESERVE),
        )
        with within(seconds):
            return await settlement.settle()


async def test_a_run_takes_its_turns_and_leaves_the_rest_to_the_next_one(stage: Stage, one: Process) -> None:
    await fleet(stage, one, 6)
    for number in range(6):
        name = ThingName(f"lamp-{number}")
        order = event("order", name, stage.clock.now())
        await DynamoRegistry.set_status(one.registry, name, ThingStatus.REVOKED, order)
    begun = time.monotonic()
    first = await settle_within(stage, RESERVE + 0.5, per_second=5)
    assert time.monotonic() - begun < 5
    assert first.postponed
    assert 1 <= first.told <= 4
    assert first.records > 0, "the audit trail is chained all the same"
    second = await settle_within(stage, RESERVE + 30, per_second=100)
    assert (first.told + second.told, second.postponed) == (6, False)
    assert stage.statuses() == {"REVOKED"}


async def test_without_any_time_nothing_is_asked_of_aws_iot(stage: Stage, one: Process) -> None:
    await fleet(stage, one, 1)
    name = ThingName("lamp-0")
    order = event("order", name, stage.clock.now())
    await DynamoRegistry.set_status(one.registry, name, ThingStatus.REVOKED, order)
    await die(stage, "CreateCertificateFromCsr")
    stage.clock.ahead += LEASE
    stage.iot.plan()
    settled = await settle_within(stage, RESERVE / 2, per_second=100)
    assert settled.postponed
    assert (settled.told, settled.rescued) == (0, 0)
    assert {call.operation for call in stage.iot.calls} <= {"ListCertificates"}
    assert stage.active() != []


async def test_a_trail_that_is_too_long_for_the_time_left_is_chained_by_the_next_run(
    stage: Stage, one: Process
) -> None:
    await fleet(stage, one, 2)
    settled = await settle_within(stage, -1.0, per_second=100)
    assert settled.records == 0
    assert "registry_unavailable" in settled.troubles
    assert (await stage.settle()).records > 0


async def test_what_takes_rights_away_comes_before_what_gives_them(stage: Stage, one: Process) -> None:
    given = await fleet(stage, one, 3)
    for number, status in ((0, ThingStatus.SUSPENDED), (0, ThingStatus.ACTIVE), (1, ThingStatus.SUSPENDED)):
        await _order(stage, one, number, status)
    await _order(stage, one, 2, ThingStatus.REVOKED)
    told: list[str] = []

    def note(params: dict[str, Any], **_: object) -> None:
        told.append(params["certificateId"])

    events = stage.iot.client.meta.events
    events.register("provide-client-params.iot.UpdateCertificate", note)
    await stage.settle()
    events.unregister("provide-client-params.iot.UpdateCertificate", note)
    assert told[0] == given[2], "for good"
    assert set(told[1:3]) <= set(given[:2])
    assert stage.certificates() == {given[0]: "ACTIVE", given[1]: "INACTIVE", given[2]: "REVOKED"}


async def _order(stage: Stage, process: Process, number: int, status: ThingStatus) -> None:
    name = ThingName(f"lamp-{number}")
    await DynamoRegistry.set_status(process.registry, name, status, event("order", name, stage.clock.now()))


async def test_a_tempo_spaces_its_turns_and_keeps_its_reserve() -> None:
    tempo, begun = Tempo(20.0, reserve=1.0), time.monotonic()
    assert [await tempo.turn() for _ in range(3)] == [True] * 3
    assert time.monotonic() - begun >= 0.1
    with within(1.02):
        assert not await Tempo(0.1, reserve=1.1).turn()
        slow = Tempo(0.1, reserve=0.5)
        assert [await slow.turn(), await slow.turn()] == [True, False]


def test_a_lease_outlives_the_function_that_has_it() -> None:
    """Else another process would go on with an intent whose first one is still at work."""
    template = Path(keyborn.adapters.aws.stack.__file__).with_name("template.yaml").read_text("utf-8")
    lines = [line.split("#")[0].split(":") for line in template.splitlines()]
    limits = [int(line[1]) for line in lines if line[0].strip() == "Timeout"]
    assert len(limits) == 2
    assert timedelta(seconds=min(limits) + 2) <= LEASE
    assert min(limits) < max(limits) < 60, "the sweeper ends before it begins anew"
