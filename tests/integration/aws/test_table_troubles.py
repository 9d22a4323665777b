"""What goes wrong with DynamoDB is said in the words of the error tree, in time, and nothing else escapes."""

import hashlib
import time
from dataclasses import replace

import pytest

from keyborn.adapters.aws.calls import Patience, within
from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.domain.audit import verify
from keyborn.domain.certificate import Certificate
from keyborn.domain.enrollment import Issue
from keyborn.domain.errors import (
    AuditBroken,
    AwsConflict,
    AwsOutage,
    AwsRefused,
    AwsThrottled,
    KeybornError,
    RegistryUnavailable,
)
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import Confirmation
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import TokenId
from keyborn.ports import Registry
from support import ministack
from support.aws_faults import ENDLESS, Fault, Faults, Plan
from support.aws_stage import Stage, registry_of
from support.registry_cases import HOUR, LIFETIME, Desk, certificate_for, event, key, make_token

IMPATIENT = Patience(whole=0.1, first=0.002, longest=0.01)


async def every_question(registry: Registry) -> list[BaseException]:
    """One call of each kind; what each raised."""
    desk = Desk(registry)
    name, stranger = ThingName("lamp-1"), CertificateId("0" * 64)
    questions = [
        registry.claim(desk.attempt(make_token("secret"), "lamp-1", "k1")),
        registry.find(TokenId("t0000000000000000")),
        registry.tokens(),
        registry.things(),
        registry.thing(name),
        registry.certificates(name),
        registry.certificate(stranger),
        registry.badge(stranger),
        registry.connected(stranger, desk.now),
        registry.policies(),
        registry.leftovers(before=desk.now),
        registry_of(desk).overdue(before=desk.now, at=desk.now),
        registry_of(desk).withdraw_successor(stranger, event()),
        registry_of(desk).set_grace(name, None, event()),
        registry_of(desk).confirm(Confirmation(stranger, desk.now)),
        registry_of(desk).spend(b"nonce", desk.now),
        registry.records(),
        registry.append(event()),
        desk.put("fleet"),
        desk.order("lamp-1", ThingStatus.REVOKED),
        registry_of(desk).owed(before=desk.now),
        registry_of(desk).dirt(),
        registry_of(desk).tidy(),
        registry_of(desk).chain(),
    ]
    raised: list[BaseException] = []
    for question in questions:
        with pytest.raises(KeybornError) as refusal:
            await question
        raised.append(refusal.value)
    return raised


@pytest.mark.parametrize(
    ("fault", "leaves"),
    [
        (Fault.THROTTLED, {AwsThrottled}),
        (Fault.CONFLICT, {AwsConflict, AwsThrottled}),  # a single call that conflicts is throttled here
        (Fault.BROKEN, {AwsOutage}),
        (Fault.UNREACHED, {AwsOutage}),
        (Fault.UNSENT, {AwsOutage}),
    ],
)
async def test_a_lasting_trouble_says_what_it_is_and_when_to_return(
    stage: Stage, faults: Faults, fault: Fault, leaves: set[type[KeybornError]]
) -> None:
    async with stage.process(faults.client, patience=IMPATIENT) as desk:
        with faults.planned(Plan(fault, 0, ENDLESS)):
            raised = await every_question(desk.registry)

    assert {type(one) for one in raised} == leaves
    assert all(isinstance(one, KeybornError) and one.retry_after for one in raised)


async def test_a_table_that_is_not_there_is_for_the_operator(stage: Stage) -> None:
    async with DynamoRegistry(ministack.dynamodb, "no-such-table") as registry:
        raised = await every_question(registry)

    assert {type(one) for one in raised} == {AwsRefused}
    assert "dynamodb:Query (ResourceNotFoundException)" in str(raised[2])


async def test_a_key_that_aws_does_not_know_is_for_the_operator(stage: Stage) -> None:
    client = ministack.shared().client("dynamodb", key="AKIAUNKNOWNUNKNOWN00")
    async with stage.process(client) as desk:
        with pytest.raises(AwsRefused, match="dynamodb:GetItem"):
            await desk.registry.find(TokenId("t0000000000000000"))


async def test_the_deadline_of_whoever_asks_holds_for_all_that_is_done_for_him(
    stage: Stage, faults: Faults
) -> None:
    async with stage.process(faults.client, patience=Patience(whole=600)) as desk:
        with faults.planned(Plan(Fault.BROKEN, 0, ENDLESS)):
            begun = time.monotonic()
            with within(0.2), pytest.raises(AwsOutage):
                await desk.registry.things()
        assert time.monotonic() - begun < 30, "and not ten minutes"


async def test_after_closing_nothing_is_done(stage: Stage) -> None:
    async with stage.process() as desk:
        await desk.put("fleet")
    await registry_of(desk).close()

    assert {type(one) for one in await every_question(desk.registry)} == {RegistryUnavailable}


# ── what AWS chooses ──────────────────────────────────────────────────────────────────────────────────


def of_aws(issue: Issue) -> Certificate:
    """A certificate whose dates AWS chose: from two minutes ago to the end of 2049."""
    proper = certificate_for(issue.intent)
    return replace(
        proper, not_before=issue.intent.created_at - HOUR / 30, not_after=proper.not_after + LIFETIME
    )


async def test_the_authority_may_choose_the_dates(stage: Stage) -> None:
    async with stage.process(own_dates=True) as desk:
        issue = await desk.claim(await desk.token("secret"), "lamp-1", "k1")
        kept = await desk.registry.store(issue.intent, of_aws(issue))
        active = await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))

        assert (kept.not_before, kept.not_after) == (of_aws(issue).not_before, of_aws(issue).not_after)
        assert active.live(desk.now + LIFETIME)


async def test_whoever_chooses_the_dates_thing_and_key_are_the_intents(stage: Stage) -> None:
    async with stage.process(own_dates=True) as desk:
        issue = await desk.claim(await desk.token("secret"), "lamp-1", "k1")
        for forgery in (
            replace(of_aws(issue), thing=ThingName("lamp-2")),
            replace(of_aws(issue), key_hash=key("k2")),
        ):
            with pytest.raises(ValueError, match="not what its intent says"):
                await desk.registry.store(issue.intent, forgery)


async def test_who_does_not_choose_serials_does_not_watch_over_them(stage: Stage) -> None:
    async with stage.process(own_dates=True) as desk:
        token = await desk.token("secret")
        first = await desk.claim(token, "lamp-1", "k1")
        attempt = desk.attempt(token, "lamp-2", "k2")
        same = replace(attempt, proposal=replace(attempt.proposal, serial=first.intent.serial))

        assert isinstance(await desk.registry.claim(same), Issue)
        assert not [item for item in stage.items() if item["pk"]["S"].startswith("serial#")]


# ── the trail ─────────────────────────────────────────────────────────────────────────────────────────


async def test_an_event_that_nobody_of_us_wrote_is_not_chained(stage: Stage) -> None:
    async with stage.process() as desk:
        await desk.put("fleet")
        forged = {"pk": {"S": "event"}, "sk": {"S": "9"}, "event": {"S": '{"action":"enroll"}'}}
        ministack.dynamodb().put_item(TableName=stage.table, Item=forged)

        with pytest.raises(AuditBroken, match="record 2"):
            await desk.registry.records()

        ministack.dynamodb().delete_item(
            TableName=stage.table, Key={name: forged[name] for name in ("pk", "sk")}
        )
        assert verify(await desk.registry.records()).sequence == 1


async def test_a_record_that_was_changed_is_seen(stage: Stage) -> None:
    async with stage.process() as desk:
        for name in ("a", "b", "c"):
            await desk.put(name)
        assert verify(await desk.registry.records()).sequence == 3
        record = next(item for item in stage.items() if item["sk"]["S"] == "000000000002")
        record["event"] = {"S": record["event"]["S"].replace("tester", "nobody")}
        ministack.dynamodb().put_item(TableName=stage.table, Item=record)

        with pytest.raises(AuditBroken, match="record 2"):
            verify(await desk.registry.records())


async def test_the_chain_goes_on_where_it_ended(stage: Stage) -> None:
    async with stage.process() as desk:
        await desk.put("a")
        first = await registry_of(desk).chain()
        await desk.put("b")
        second = await registry_of(desk).chain()

        assert (first.sequence, second.sequence) == (1, 2)
        assert await registry_of(desk).chain() == second
        assert verify(await desk.registry.records(after=1), first) == second
        assert not [item for item in stage.items() if item["pk"]["S"] == "event"]


@pytest.mark.parametrize("head", [None, {"sequence": {"N": "1"}}])
async def test_a_chain_whose_end_was_set_back_is_not_written_over(
    stage: Stage, head: dict[str, dict[str, str]] | None
) -> None:
    place = {"pk": {"S": "head"}, "sk": {"S": "-"}}
    async with stage.process() as desk:
        for name in ("a", "b"):
            await desk.put(name)
        before = await desk.registry.records()
        ministack.dynamodb().delete_item(TableName=stage.table, Key=place)
        if head is not None:
            item = {**place, **head, "hash": {"S": before[0].hash}}
            ministack.dynamodb().put_item(TableName=stage.table, Item=item)
        await desk.put("c")

        with pytest.raises(AuditBroken, match=f"record {1 if head is None else 2}: .*set back"):
            await registry_of(desk).chain()

        kept = [item for item in stage.items() if item["pk"]["S"] == "audit"]
        assert [item["hash"]["S"] for item in kept] == [one.hash for one in before]
        assert len([item for item in stage.items() if item["pk"]["S"] == "event"]) == 1


async def test_no_item_holds_a_secret(stage: Stage) -> None:
    """Of a token the table has the digest alone; the secret of ``make_token`` is the digest of its word."""
    async with stage.process() as desk:
        await desk.enroll(await desk.token("secret"), "lamp-1", "k1")

    secret = hashlib.sha256(b"secret").digest()
    assert hashlib.sha256(secret).digest() in repr_bytes(stage)
    assert secret not in repr_bytes(stage)


def repr_bytes(stage: Stage) -> list[bytes]:
    """Every value of every item that is bytes."""
    return [value for item in stage.items() for one in item.values() for value in one.values()
            if isinstance(value, bytes)]  # fmt: skip
