"""The sweeper and who has connected: once for each certificate that it knows, and nothing for the others.

What AWS IoT's rule would put down is put down here; that it does so, ``e2e/aws/test_presence.py`` shows.
"""

import secrets
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from keyborn.adapters.aws.calls import within
from keyborn.adapters.aws.presence import PAGE, Presence
from keyborn.adapters.aws.table import keys
from keyborn.adapters.aws.table.values import to_wire
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.errors import ReplacementPending, TokenExpired
from keyborn.domain.names import CertificateId
from keyborn.domain.thing import ThingStatus
from support.aws_faults import ENDLESS, Fault, Plan
from support.aws_saga import IMPATIENT, LAMP, Process, Stage
from support.csr_make import make_csr

LONG = timedelta(days=2)
"""The tokens' time is over."""


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


def put(stage: Stage, who: str, stamp: object = None, **more: object) -> None:
    """Put a connection down as the rule does; ``stamp``: now unless given."""
    stamp = keys.to_ms(stage.clock.now()) if stamp is None else stamp
    item = {"pk": keys.SEEN, "sk": who, "at": stamp, "ttl": 1, **more}
    stage.dynamodb.client.put_item(TableName=stage.table, Item=to_wire(item))


def listed(stage: Stage) -> list[str]:
    """Whose connections are put down."""
    return [one["sk"]["S"] for one in rows(stage) if one["pk"]["S"] == keys.SEEN]


def rows(stage: Stage) -> list[dict[str, Any]]:
    """The whole table."""
    found: list[dict[str, Any]] = stage.dynamodb.client.scan(TableName=stage.table, ConsistentRead=True)[
        "Items"
    ]
    return found


async def enrolled(stage: Stage, one: Process) -> Certificate:
    """The lamp's certificate."""
    return (await one.enroll(stage.csr)).certificate


async def replaced(stage: Stage, one: Process, seed: str) -> Certificate:
    """The certificate of a new key of the lamp's, with a token of its own."""
    secret = await stage.token(one, seed, pattern=LAMP, replaces=True)
    return (await one.enroll(make_csr(LAMP)[1], secret=secret)).certificate


async def first(one: Process, certificate: CertificateId) -> datetime | None:
    """When it first connected, as far as the table knows."""
    found = await one.registry.certificate(certificate)
    assert found is not None
    return found.connected_at


# ── what a connection means ───────────────────────────────────────────────────────────────────────────


async def test_the_first_connection_is_kept_and_the_later_ones_leave_nothing(
    stage: Stage, one: Process
) -> None:
    lamp = await enrolled(stage, one)
    moment = stage.clock.now()
    put(stage, lamp.id, keys.to_ms(moment))
    assert (await stage.settle()).troubles == []
    assert await first(one, lamp.id) == moment
    assert listed(stage) == []
    before = rows(stage)

    put(stage, lamp.id, keys.to_ms(moment) + 5)
    await stage.settle()

    assert await first(one, lamp.id) == moment
    assert rows(stage) == before


async def test_a_successor_s_connection_takes_its_predecessor_away_in_the_same_run(
    stage: Stage, one: Process
) -> None:
    old = await enrolled(stage, one)
    new = await replaced(stage, one, "swap")
    assert set(stage.active()) == {old.id, new.id}
    with pytest.raises(ReplacementPending):
        await replaced(stage, one, "swap too early")

    put(stage, new.id)
    settled = await stage.settle()

    assert settled.troubles == []
    stage.assert_enrolled(new.id)
    known = await one.registry.certificate(new.id)
    assert known is not None
    assert known.slot is Slot.CURRENT
    assert (await replaced(stage, one, "swap again")).id in stage.active()


async def test_a_predecessor_that_goes_on_connecting_keeps_its_place(stage: Stage, one: Process) -> None:
    old = await enrolled(stage, one)
    new = await replaced(stage, one, "swap")
    put(stage, old.id)
    await stage.settle()
    assert set(stage.active()) == {old.id, new.id}


async def test_an_expired_token_repeats_its_answer_until_the_device_has_connected(
    stage: Stage, one: Process
) -> None:
    lamp = await enrolled(stage, one)
    stage.clock.ahead += LONG
    assert (await one.enroll(stage.csr)).certificate.id == lamp.id, "the answer may have been lost"

    put(stage, lamp.id)
    await stage.settle()

    with pytest.raises(TokenExpired):
        await one.enroll(stage.csr)


async def test_a_suspended_thing_s_connection_before_it_was_suspended_brings_nothing_back(
    stage: Stage, one: Process
) -> None:
    lamp = await enrolled(stage, one)
    put(stage, lamp.id)
    await one.registry.set_status(LAMP, ThingStatus.SUSPENDED, stage.event())
    await stage.settle()
    found = await one.registry.certificate(lamp.id)
    assert found is not None
    assert found.status is CertificateStatus.INACTIVE
    assert stage.active() == []
    assert listed(stage) == []


# ── who is not ours ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "who",
    [
        "a" * 64,
        "AROAEXAMPLE:session",
        "eu-central-1:0ef9a3c2-1111-4222-8333-444455556666",
        "A" * 64,
        "../open",
        "ü" * 200,
        "#",
    ],
)
async def test_of_who_is_not_known_no_trace_is_left(stage: Stage, one: Process, who: str) -> None:
    await enrolled(stage, one)
    await stage.settle()
    before, active = rows(stage), stage.active()
    put(stage, who)
    settled = await stage.settle()
    assert settled.troubles == []
    assert rows(stage) == before
    assert stage.active() == active
    stage.assert_foreign_untouched()


@pytest.mark.parametrize("stamp", [-1, 0, 10**30, "yesterday", True])
async def test_a_time_that_cannot_be_is_not_believed(stage: Stage, one: Process, stamp: object) -> None:
    lamp = await enrolled(stage, one)
    put(stage, lamp.id, stamp)
    begun = stage.clock.now()
    settled = await stage.settle()
    assert settled.troubles == []
    met = await first(one, lamp.id)
    assert met is None or begun <= met <= stage.clock.now()
    assert listed(stage) == []


async def test_a_time_to_come_is_taken_for_now(stage: Stage, one: Process) -> None:
    lamp = await enrolled(stage, one)
    put(stage, lamp.id, keys.to_ms(stage.clock.now() + timedelta(days=365)))
    await stage.settle()
    met = await first(one, lamp.id)
    assert met is not None
    assert met <= stage.clock.now()


async def test_a_number_that_is_not_whole_stops_nothing(stage: Stage, one: Process) -> None:
    lamp = await enrolled(stage, one)
    item = to_wire({"pk": keys.SEEN, "sk": lamp.id}) | {"at": {"N": "1.5"}, "ttl": {"N": "2.5"}}
    stage.dynamodb.client.put_item(TableName=stage.table, Item=item)
    assert (await stage.settle()).troubles == []
    assert await first(one, lamp.id) is not None


# ── how it is read ────────────────────────────────────────────────────────────────────────────────────


async def test_many_pages_are_read_to_the_end_and_everybody_is_met(stage: Stage, one: Process) -> None:
    lamp = await enrolled(stage, one)
    for _ in range(2 * PAGE + 7):
        put(stage, secrets.token_hex(32))
    put(stage, lamp.id)
    settled = await stage.settle()
    assert (settled.troubles, settled.postponed) == ([], False)
    assert listed(stage) == []
    assert await first(one, lamp.id) is not None


async def test_who_connects_again_while_the_list_is_read_stays_on_it(stage: Stage, one: Process) -> None:
    lamp = await enrolled(stage, one)
    put(stage, lamp.id, 1)
    (seen,) = await one.registry.sightings()
    put(stage, lamp.id, 2)
    await one.registry.strike(seen)
    assert listed(stage) == [lamp.id]
    (again,) = await one.registry.sightings()
    await one.registry.strike(again)
    await one.registry.strike(again)
    assert listed(stage) == []


async def test_what_has_no_time_is_struck_off_too(stage: Stage, one: Process) -> None:
    item = to_wire({"pk": keys.SEEN, "sk": "b" * 64})
    stage.dynamodb.client.put_item(TableName=stage.table, Item=item)
    await stage.settle()
    assert listed(stage) == []


async def test_without_time_nothing_is_begun_and_the_next_run_goes_on(stage: Stage, one: Process) -> None:
    lamp = await enrolled(stage, one)
    put(stage, lamp.id)
    troubles: list[str] = []
    with within(5.0):
        assert not await Presence(one.registry, stage.clock, reserve=10.0).look(troubles.append)
    assert (troubles, listed(stage)) == ([], [lamp.id])
    assert await Presence(one.registry, stage.clock, reserve=10.0).look(troubles.append)
    assert listed(stage) == []


async def test_what_fails_is_said_stays_and_does_not_keep_the_audit_trail_waiting(
    stage: Stage, one: Process
) -> None:
    lamp = await enrolled(stage, one)
    await stage.settle()
    put(stage, lamp.id)
    put(stage, "c" * 64)
    events = stage.dynamodb.client.meta.events

    def refuse(**_: object) -> None:
        raise ReadTimeoutError(endpoint_url="https://dynamodb")

    events.register("before-send.dynamodb.TransactWriteItems", refuse)
    try:
        settled = await stage.settle(patience=IMPATIENT)
    finally:
        events.unregister("before-send.dynamodb.TransactWriteItems", refuse)
    assert settled.postponed
    assert settled.troubles
    assert settled.records > 0
    assert lamp.id in listed(stage)
    assert (await stage.settle()).troubles == []
    assert await first(one, lamp.id) is not None
    assert listed(stage) == []


async def test_a_run_that_dies_before_it_strikes_off_is_repeated_without_harm(
    stage: Stage, one: Process
) -> None:
    old = await enrolled(stage, one)
    new = await replaced(stage, one, "swap")
    put(stage, new.id)
    stage.dynamodb.plan(Plan(Fault.BROKEN, operations=("DeleteItem",), times=ENDLESS))
    assert (await stage.settle(patience=IMPATIENT)).troubles != []
    stage.dynamodb.plan()
    assert listed(stage) == [new.id]
    met = await first(one, new.id)

    assert (await stage.settle(timedelta(minutes=1))).troubles == []

    stage.assert_enrolled(new.id)
    assert old.id not in stage.active()
    assert await first(one, new.id) == met
    assert listed(stage) == []
