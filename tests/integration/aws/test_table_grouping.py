"""What groups are in the table: how many items a claim writes, what ends by itself, who may write what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyborn.adapters.aws.calls import Patience
from keyborn.adapters.aws.table import DynamoRegistry, Owed, keys
from keyborn.adapters.aws.table.paying import MOST_PAID
from keyborn.adapters.aws.table.registered import PIECE
from keyborn.domain.approval import ApprovalState
from keyborn.domain.enrollment import Attempt
from keyborn.domain.errors import GroupFull, KeybornError, NotFound, RegistryUnavailable, Unavailable
from keyborn.domain.group import account_of, window_of
from keyborn.domain.names import ThingName
from keyborn.domain.registered import Registered
from keyborn.domain.thing import ThingKind
from support import ministack
from support.aws_faults import ENDLESS, Fault, Faults, Killed, Plan
from support.aws_stage import Stage
from support.figures import Figure
from support.grouping_cases import LINE, OTHER, GroupingDesk, Rule, hourly, proving, registered
from support.registry_cases import HOUR, key

RULE = Rule(limit=2, rate=hourly(2))
TWO_DAYS = timedelta(days=2)
IMPATIENT = Patience(whole=0.06, first=0.002, longest=0.01)


@asynccontextmanager
async def process(
    stage: Stage,
    client: Any = ministack.dynamodb,  # noqa: ANN401 - as the stage's
    **options: Any,  # noqa: ANN401 - as the stage's
) -> AsyncIterator[GroupingDesk]:
    """A process on the stage's table, with the words of groups."""
    async with stage.process(client, **options) as desk:
        yield GroupingDesk(desk.registry, numbers=desk.numbers)


def dynamo(desk: GroupingDesk) -> DynamoRegistry:
    assert isinstance(desk.registry, DynamoRegistry)
    return desk.registry


def item(stage: Stage, key_of_it: tuple[str, str]) -> dict[str, Any] | None:
    """One item as the API writes it."""
    found = [one for one in stage.items() if (one["pk"]["S"], one["sk"]["S"]) == key_of_it]
    return found[0] if found else None


# ── what a claim writes ───────────────────────────────────────────────────────────────────────────────


async def written(desk: GroupingDesk, faults: Faults, attempt: Attempt) -> list[str]:
    """The kinds of items in the one transaction of a claim."""
    sent: list[str] = []

    def note(params: dict[str, Any], **_: object) -> None:
        for part in params["TransactItems"]:
            ((how, one),) = part.items()
            partition = (one.get("Item") or one["Key"])["pk"]["S"]
            head, sign, _rest = partition.partition("#")
            sent.append(f"{how} {head}{sign}")

    name = "provide-client-params.dynamodb.TransactWriteItems"
    faults.client.meta.events.register(name, note)
    try:
        with faults.listening() as calls:
            await desk.registry.claim(attempt)
    finally:
        faults.client.meta.events.unregister(name, note)
    assert [call.operation for call in calls] == ["TransactWriteItems"], (
        "the guess was right: nothing is read"
    )
    return sorted(sent)


PLAIN = ["Put device", "Put intent#", "Put key#", "Put name#", "Put open", "Put paid#", "Put serial#"]


async def test_a_claim_without_a_group_writes_no_more_than_ever(stage: Stage, faults: Faults) -> None:
    async with process(stage, faults.client) as desk:
        token = await desk.token("secret", uses=1)
        attempt = desk.attempt(token, "lamp-1", "k1")
        assert await written(desk, faults, attempt) == sorted([*PLAIN, "Update token"])
        shown = desk.attempt(token := await desk.token("shown"), "lamp-2", "k2")
        sealed = replace(shown, applicant=replace(shown.applicant, digest=token.digest))
        assert await written(desk, faults, sealed) == sorted(
            [*PLAIN, "Update token", "ConditionCheck secret#"]
        )


async def test_a_claim_in_a_group_is_one_transaction_with_three_items_more_and_a_fourth_for_a_rate(
    stage: Stage, faults: Faults, figure: Figure
) -> None:
    async with process(stage, faults.client) as desk:
        await desk.put_group()
        token = await desk.token("secret")
        member = ["ConditionCheck rule#", "Put paid#", "Update account#"]

        free = await written(desk, faults, desk.joining(token, "lamp-1", "k1"))
        rated = await written(desk, faults, desk.joining(token, "lamp-2", "k2", RULE))
        proved = await written(desk, faults, desk.joining(proving("chip", uses=1), "lamp-3", "k3"))

    assert free == sorted([*PLAIN, "Update token", *member])
    assert rated == sorted([*free, "Update account#"])
    assert proved == sorted([*PLAIN, "Update account#", *member])
    figure(
        f"items of a claim's transaction: {len(PLAIN) + 1}, in a group {len(free)}, with a rate {len(rated)}"
    )


# ── undoing ───────────────────────────────────────────────────────────────────────────────────────────


async def test_what_most_accounts_paid_for_is_undone_in_one_transaction(stage: Stage) -> None:
    async with process(stage) as desk:
        rules = [Rule(group=group, rate=hourly(100)) for group in (LINE, OTHER)]
        for group in (LINE, OTHER):
            await desk.put_group(group)
        issue = await desk.begin(await desk.token("secret", policies=["a", "b"]), "lamp-1", "k1", rules[0])
        await desk.begin(proving("chip"), "lamp-1", "k1", rules[1])
        paid = 6
        for number in range(MOST_PAID - paid):
            await desk.begin(proving(f"chip-{number}"), "lamp-1", "k1", rules[number % 2])
        with pytest.raises(RegistryUnavailable):
            await desk.begin(proving("one too many"), "lamp-1", "k1", rules[0])

        assert await desk.drop(issue)

        assert (await desk.taken(LINE), await desk.taken(OTHER)) == (0, 0)
    left = [one for one in stage.items() if "taken" in one and one["taken"]["N"] != "0"]
    assert left == []
    pairs = [one for one in stage.items() if one["pk"]["S"].startswith("paid#") and "void" not in one]
    assert pairs == []


# ── periods ───────────────────────────────────────────────────────────────────────────────────────────


async def test_the_account_of_a_period_ends_by_itself_and_others_do_not(stage: Stage) -> None:
    async with process(stage) as desk:
        await desk.put_group()
        window = window_of(LINE, hourly(2), desk.now)
        await desk.join(proving("chip"), "lamp-1", "k1", RULE)

        period = item(stage, keys.account(window.account))
        assert period is not None
        assert int(period["ttl"]["N"]) == (window.ends_at + TWO_DAYS).timestamp()
        for other in (account_of(LINE), proving("chip").token):
            found = item(stage, keys.account(other))
            assert found is not None
            assert "ttl" not in found


async def test_a_period_that_is_over_and_removed_keeps_nobody_from_undoing(stage: Stage) -> None:
    async with process(stage) as desk:
        await desk.put_group()
        window = window_of(LINE, hourly(2), desk.now)
        issue = await desk.begin(proving("chip"), "lamp-1", "k1", RULE)
        place = {"pk": {"S": keys.account(window.account)[0]}, "sk": {"S": "-"}}
        ministack.dynamodb().delete_item(TableName=stage.table, Key=place)
        desk.pass_time(timedelta(days=9))

        assert await desk.drop(issue)

        left = item(stage, keys.account(window.account))
        assert left is not None
        assert "ttl" in left, "DynamoDB removes it once more"
        assert await desk.taken() == 0


# ── what AWS IoT has to follow ────────────────────────────────────────────────────────────────────────


async def owed(desk: GroupingDesk) -> list[Owed]:
    return list(await dynamo(desk).owed(before=desk.now + 2 * HOUR))


async def test_a_move_and_attributes_are_owed_and_a_release_is_not(stage: Stage) -> None:
    async with process(stage) as desk:
        await desk.put_group()
        await desk.join(await desk.token("secret"), "lamp-1", "k1")
        await desk.describe("lamp-1", {"a": "1", "b": "2"})
        await desk.move("lamp-1", None)
        await desk.describe("lamp-1", {"c": "3"})
        await desk.describe("lamp-1", {"c": "3"})
        await desk.release("lamp-1")
        assert [(one.certificate, one.gone, one.due) for one in await owed(desk)] == [
            (None, (), desk.now),
            (None, (), desk.now),
            (None, ("a", "b"), desk.now),
        ]


async def test_while_somebody_makes_the_thing_it_is_owed_again_when_that_is_over(stage: Stage) -> None:
    async with process(stage, lease=timedelta(seconds=17)) as desk:
        await desk.put_group()
        await desk.begin(await desk.token("secret"), "lamp-1", "k1")
        await desk.describe("lamp-1", {"a": "1"})
        assert [one.due - desk.now for one in await owed(desk)] == [timedelta(0), timedelta(seconds=17)]


async def test_a_service_has_no_thing_in_aws_iot(stage: Stage) -> None:
    async with process(stage) as desk:
        await desk.put_group()
        await desk.enroll(await desk.token("secret", kind=ThingKind.SERVICE), "ear", "k1")
        await desk.move("ear", LINE)
        await desk.describe("ear", {"a": "1"})
        assert await owed(desk) == []


# ── announced keys ────────────────────────────────────────────────────────────────────────────────────


async def test_an_import_that_is_interrupted_goes_on_where_it_was(stage: Stage, faults: Faults) -> None:
    page = [registered(f"k{number}") for number in range(3 * PIECE)]
    async with process(stage, faults.client, patience=IMPATIENT) as desk:
        with faults.planned(Plan(Fault.KILLED, 1, ENDLESS)), pytest.raises((Unavailable, Killed)):
            await desk.register(*page)
    async with process(stage, faults.client) as desk:
        there = len(await desk.grouping.registered_in(LINE, limit=1000))
        assert there in {PIECE, 2 * PIECE}, "whole pieces"

        assert await desk.register(*page) == Registered(3 * PIECE - there, there, ())
        assert await desk.register(*page) == Registered(0, 3 * PIECE, ())

        assert len(await desk.grouping.registered_in(LINE, limit=1000)) == 3 * PIECE
        assert (await desk.told()).count("registered.import") == 2, "nothing was added without being told"


async def test_a_page_of_new_keys_is_written_without_reading_and_repeated_with_few_calls(
    stage: Stage, faults: Faults, figure: Figure
) -> None:
    page = [registered(f"k{number}") for number in range(1000)]
    async with process(stage, faults.client) as desk:
        with faults.listening() as first:
            await desk.register(*page)
        with faults.listening() as again:
            await desk.register(*page)
    pieces = -(-1000 // PIECE)
    assert [call.operation for call in first] == ["TransactWriteItems"] * pieces
    assert len(again) <= 2 * pieces
    figure(f"1,000 announced keys on DynamoDB: {len(first)} calls, announced again: {len(again)}")


async def test_a_key_is_found_with_one_read(stage: Stage, faults: Faults) -> None:
    async with process(stage, faults.client) as desk:
        await desk.register(registered("k1"))
        with faults.listening() as calls:
            assert await desk.grouping.registered(key("k1")) == registered("k1")
    assert [call.operation for call in calls] == ["GetItem"]


# ── approvals ─────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_asked_and_what_was_decided_lie_apart_and_end_by_themselves(stage: Stage) -> None:
    async with process(stage) as desk:
        wish = await desk.ask(desk.wish("lamp-1"))
        asked = item(stage, ("asked", wish.id))
        assert asked is not None
        assert int(asked["ttl"]["N"]) > wish.expires_at.timestamp()
        decided = await desk.decide(wish, span=2 * HOUR)
        kept, husk = item(stage, ("approved", wish.id)), item(stage, ("asked", wish.id))
    assert husk is not None
    assert "void" in husk
    assert kept is not None
    assert int(kept["ttl"]["N"]) > decided.expires_at.timestamp()


async def test_a_request_that_was_altered_where_enrolments_write_cannot_be_approved(stage: Stage) -> None:
    """Who takes over the enrolment function may write requests: an operator approves none for another key."""
    async with process(stage) as desk:
        wish = await desk.ask(desk.wish("lamp-1"))
        forged = {":key": {"S": key("attacker")}}
        ministack.dynamodb().update_item(
            TableName=stage.table,
            Key={"pk": {"S": "asked"}, "sk": {"S": wish.id}},
            UpdateExpression="SET #key = :key",
            ExpressionAttributeNames={"#key": "key"},
            ExpressionAttributeValues=forged,
        )
        with pytest.raises(NotFound):
            await desk.decide(wish)
        assert await desk.grouping.approvals(ApprovalState.APPROVED) == []


async def test_however_many_wait_they_are_counted_in_one_small_item(stage: Stage, figure: Figure) -> None:
    """Each asks at a moment of its own: here they are more than the item keeps apart."""
    async with process(stage) as desk:
        for number in range(90):
            desk.pass_time(timedelta(milliseconds=7))
            await desk.ask(desk.wish(f"lamp-{number}"), most=90)
        with pytest.raises(KeybornError):
            await desk.ask(desk.wish("one-more"), most=90)
        tally = item(stage, keys.tally(LINE))
        assert tally is not None
        assert len(tally["expiries"]["L"]) <= 64
        figure(f"who waits is counted in an item of {len(str(tally))} characters at most")
        desk.pass_time(HOUR)
        await desk.ask(desk.wish("one-more"), most=1)


# ── many at once ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_group_of_five_takes_five_of_thirty_though_every_second_call_meets_a_conflict(
    stage: Stage, faults: Faults
) -> None:
    faults.plan(*(Plan(Fault.CONFLICT, number) for number in range(0, 1000, 2)))
    async with process(stage, faults.client) as one, process(stage, faults.client) as other:
        await one.put_group()
        desks = [one, other]
        claims = [
            desks[each % 2].begin(proving(f"chip-{each}"), f"lamp-{each}", f"k{each}", Rule(limit=5))
            for each in range(30)
        ]
        outcomes = await asyncio.gather(*claims, return_exceptions=True)
        assert sum(isinstance(each, GroupFull) for each in outcomes) == 25
        assert await one.taken() == 5
        assert len(await one.registry.things()) == 5
        assert await one.registry.thing(ThingName("lamp-99")) is None
