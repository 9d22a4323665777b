"""How many calls the steps of an enrolment are, and which permissions they need."""

import json
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest

from keyborn.domain.certificate import CertificateStatus, Slot
from keyborn.domain.enrollment import Issue, Repeat
from keyborn.domain.errors import AwsRefused
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from support import ministack
from support.aws_faults import Faults
from support.aws_stage import Stage
from support.figures import Figure
from support.registry_cases import LIFETIME, Desk, certificate_for

# ── calls ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_step_of_a_new_enrollment_is_one_transaction_and_reads_nothing_first(
    stage: Stage, faults: Faults, figure: Figure
) -> None:
    async with stage.process(faults.client) as desk:
        attempt = desk.attempt(await desk.token("secret", uses=1), "lamp-1", "k1")
        with faults.listening() as calls:
            verdict = await desk.registry.claim(attempt)
            assert isinstance(verdict, Issue)
            await desk.registry.store(verdict.intent, certificate_for(verdict.intent))
            await desk.registry.activate(verdict.intent.id, desk.done("lamp-1"))

    assert [call.operation for call in calls] == ["TransactWriteItems"] * 3
    figure(f"DynamoDB calls of a new enrolment, one after the other: {len(calls)}")


async def test_a_repeated_answer_writes_nothing_and_costs_two_calls(stage: Stage, faults: Faults) -> None:
    async with stage.process(faults.client) as desk:
        token = await desk.token("secret", uses=1)
        certificate = await desk.enroll(token, "lamp-1", "k1")
        attempt = desk.attempt(token, "lamp-1", "k1")
        with faults.listening() as calls:
            assert await desk.registry.claim(attempt) == Repeat(certificate)

    assert [call.operation for call in calls] == ["TransactWriteItems", "GetItem"], (
        "the refused guess brings all but the certificate's bytes"
    )


async def test_another_process_goes_on_where_one_died(stage: Stage, faults: Faults) -> None:
    async with stage.process() as desk:
        issue = await desk.claim(await desk.token("secret"), "lamp-1", "k1")
    async with stage.process(faults.client) as desk:
        with faults.listening() as calls:
            kept = await desk.registry.store(issue.intent, certificate_for(issue.intent))
        assert [call.operation for call in calls] == ["GetItem", "GetItem", "TransactWriteItems"]
    async with stage.process(faults.client) as desk:
        with faults.listening() as calls:
            active = await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))
        assert len(calls) <= 4

    assert (active.id, active.der, active.status) == (kept.id, kept.der, CertificateStatus.ACTIVE)


async def test_what_a_process_remembers_may_be_wrong_and_does_no_harm(stage: Stage) -> None:
    async with stage.process() as desk, stage.process() as other:
        issue = await desk.claim(await desk.token("secret"), "lamp-1", "k1")
        await desk.registry.store(issue.intent, certificate_for(issue.intent))
        await other.order("lamp-1", ThingStatus.SUSPENDED)
        await other.order("lamp-1", ThingStatus.ACTIVE)

        active = await desk.registry.activate(issue.intent.id, desk.done("lamp-1"))

        assert active.status is CertificateStatus.ACTIVE
        assert (await other.thing("lamp-1")).status is ThingStatus.ACTIVE


# ── permissions ───────────────────────────────────────────────────────────────────────────────────────

NEEDED = ["GetItem", "PutItem", "UpdateItem", "ConditionCheckItem"]
"""All that the enrolling function may do with the table."""


class Caller:
    """A user of the account whose policy says just which actions of DynamoDB it may call."""

    def __init__(self, name: str, actions: Collection[str]) -> None:
        self.iam = ministack.shared().client("iam")
        self.name = name
        self.iam.create_user(UserName=name)
        self.allow(actions)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        self.client: Any = ministack.shared().client(
            "dynamodb", key=key["AccessKeyId"], secret=key["SecretAccessKey"]
        )

    def allow(self, actions: Collection[str]) -> None:
        named = [f"dynamodb:{action}" for action in actions]
        document = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": named, "Resource": "*"}],
        }
        self.iam.put_user_policy(UserName=self.name, PolicyName="all", PolicyDocument=json.dumps(document))


@pytest.fixture
async def enrolling(stage: Stage) -> AsyncIterator[tuple[Caller, Desk]]:
    """A process with the permissions of the enrolling function, on a table that an operator has prepared."""
    caller = Caller(f"enrolling-{stage.table}", NEEDED)
    async with stage.process(caller.client) as desk:
        yield caller, desk


async def test_the_enrolling_function_reads_and_writes_items_and_neither_lists_nor_deletes(
    enrolling: tuple[Caller, Desk], stage: Stage
) -> None:
    _, desk = enrolling
    async with stage.process() as operator:
        first = await operator.token("first", policies=["fleet"])
        swaps = [await operator.token(f"swap {number}", "lamp-1", replaces=True) for number in range(3)]

        assert await desk.registry.find(first.id) == first
        old = await desk.enroll(first, "lamp-1", "k1")
        assert await desk.enroll(first, "lamp-1", "k1") == old
        new = await desk.enroll(swaps[0], "lamp-1", "k2")
        assert new.slot is Slot.SUCCESSOR

        operator.pass_time(LIFETIME * 2)
        desk.now = operator.now
        last = await operator.token("last", "lamp-1", replaces=True)
        await desk.stored(last, "lamp-1", "k3")
        renewed = await desk.enroll(await operator.token("again"), "lamp-1", "k1")
        assert renewed.status is CertificateStatus.ACTIVE, "which superseded what another key had under way"

        await operator.order("lamp-1", ThingStatus.REVOKED)
        freed = await operator.token("free", "lamp-1", replaces=True)
        assert (await desk.enroll(freed, "lamp-1", "k4")).slot is Slot.CURRENT
        await desk.registry.append(desk.done("lamp-1"))


@pytest.mark.parametrize("action", NEEDED[1:])
async def test_without_any_one_permission_it_says_so_and_nothing_is_active(
    enrolling: tuple[Caller, Desk], stage: Stage, action: str
) -> None:
    caller, desk = enrolling
    async with stage.process() as operator:
        token = await operator.token("secret")
        if action == "ConditionCheckItem":
            await operator.enroll(token, "lamp-1", "k1")
            operator.pass_time(LIFETIME * 2)
            desk.now = operator.now
            token = await operator.token("again")
        caller.allow([one for one in NEEDED if one != action])

        with pytest.raises(AwsRefused, match=r"dynamodb:Transact\w+ \(AccessDenied"):
            await desk.enroll(token, "lamp-1", "k1")

        known = await operator.registry.certificates(ThingName("lamp-1"))
        assert not [one for one in known if one.live(operator.now)]
        caller.allow(NEEDED)
        assert (await desk.enroll(token, "lamp-1", "k1")).live(desk.now)
