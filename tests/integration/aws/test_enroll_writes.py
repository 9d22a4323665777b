"""What the enrolment function writes lies where its role may write, and what it need not write it may not.

The stand-in heeds no condition on partitions (tests/support/aws_iam.py), so the denials are held against
what real enrolments and renewals were seen to write, and against what an intruder would.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest
from cfnlint.decode import cfn_yaml

from keyborn.adapters.aws.admission import DynamoLine
from keyborn.adapters.aws.stack.stacks import template
from keyborn.adapters.aws.table import items, keys
from keyborn.domain.applicant import Applicant
from keyborn.domain.approval import ApprovalId, ApprovalState
from keyborn.domain.errors import KeybornError
from keyborn.domain.group import GroupDocument
from keyborn.domain.method import Method
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.quota import Pacing
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import TokenId
from keyborn.service.enroll import EnrollmentRequest
from support.aws_faults import ENDLESS, Fault, Faults, Killed, Plan
from support.aws_iam import Ledger, Statement, Write, denied
from support.aws_saga import LAMP, LEASE, Process, Stage
from support.csr_make import make_csr
from support.grouping_cases import LINE, GroupingDesk, Rule, hourly, registered
from support.registry_cases import make_token
from support.signing import Signer

OTHER = ThingName("lamp-2")
DECIDED = (ApprovalState.APPROVED, ApprovalState.REFUSED)
PUT, UPDATE = "dynamodb:PutItem", "dynamodb:UpdateItem"
GET, CHECK = "dynamodb:GetItem", "dynamodb:ConditionCheckItem"
MADE = keys.secret(make_token("any").id, make_token("any").digest)[0]
COUNTED = frozenset({"pk", "sk", "taken", "uses", "withdrawnAt", "rev"})
"""What a claim asks and changes of a token, and its keys."""


@cache
def statements() -> tuple[Statement, ...]:
    (policy,) = cfn_yaml.loads(template())["Resources"]["EnrollRole"]["Properties"]["Policies"]
    return tuple(policy["PolicyDocument"]["Statement"])


@pytest.fixture
def stage(ground: Stage) -> Stage:
    """An account; each case begins it anew."""
    return ground


@asynccontextmanager
async def watched(stage: Stage, ledger: Ledger) -> AsyncIterator[Process]:
    """A process of the enrolment function, of which each write is noted."""
    mine = replace(stage, dynamodb=Faults(_client(stage, ledger)))
    async with mine.process() as one:
        yield one


async def life(stage: Stage, ledger: Ledger) -> None:
    """Enrolments of every kind: new, repeated, refused, taken over, of a revoked name, in line."""
    await stage.prepare()
    async with stage.process() as office, watched(stage, ledger) as one:
        await stage.put(office, "lamps")
        named = await stage.token(office, "named", policies=("lamps",))
        again = await stage.token(office, "again", pattern=LAMP, uses=1, replaces=True, policies=("lamps",))
        new = await stage.token(office, "new", pattern=OTHER, uses=1, replaces=True)
        await one.enroll(stage.csr, secret=named)
        await one.enroll(stage.csr, secret=named)
        with pytest.raises(KeybornError):
            await one.enroll(make_csr(LAMP)[1], secret=named)
        with pytest.raises(KeybornError):
            await one.enroll(stage.csr, secret=b"x" * 32)
        await office.registry.set_status(LAMP, ThingStatus.REVOKED, stage.event("thing.revoke"))
        await one.enroll(make_csr(LAMP)[1], secret=again)
        await given_up(stage, one, named, new)
        await renewals(stage, one, named)
        await groups(stage, office, one, named)
    line = DynamoLine(_client(stage, ledger), stage.table, Pacing(10))
    now = stage.clock.now().timestamp()
    await line.take(now, now)
    await line.join("somebody", now)


async def given_up(stage: Stage, one: Process, named: bytes, new: bytes) -> None:
    """An attempt that dies; one with the same key goes on with it; another key succeeds."""
    csr, dies = make_csr(OTHER)[1], Plan(Fault.KILLED, times=ENDLESS, operations=["CreateCertificateFromCsr"])
    with stage.iot.planned(dies), pytest.raises(Killed):
        await one.enroll(csr, secret=named, name=OTHER)
    stage.clock.ahead += LEASE + timedelta(minutes=5)
    await one.enroll(csr, secret=named, name=OTHER)
    await one.enroll(make_csr(OTHER)[1], secret=new, name=OTHER)


async def renewals(stage: Stage, one: Process, named: bytes) -> None:
    """Renewals of every kind: new, of another key, that dies and is resumed, confirmed, refused."""
    name = "lamp-3"
    key, csr = make_csr(name)
    first = Signer(name, key, (await one.enroll(csr, secret=named, name=name)).certificate.id)
    await one.renew(first, first.next_key())
    following = first.next_key()
    dies = Plan(Fault.KILLED, times=ENDLESS, operations=["CreateCertificateFromCsr"])
    with stage.iot.planned(dies), pytest.raises(Killed):
        await one.renew(first, following)
    stage.clock.ahead += LEASE + timedelta(minutes=5)
    renewed = (await one.renew(first, following)).certificate
    await one.confirm(following.with_certificate(renewed.id))
    with pytest.raises(KeybornError):
        await one.confirm(first)


async def groups(stage: Stage, office: Process, one: Process, named: bytes) -> None:
    """Enrolments under a group: with a token, with what proves itself; asking; a limit that is reached."""
    now = stage.clock.now()
    await office.registry.put_group(GroupDocument(LINE, "", now), stage.event("group.put"))
    terms = replace(Rule(limit=2, rate=hourly(2)).terms(now), thing_type="lamp")
    await one.enroll(make_csr("lamp-4")[1], {"room": "4"}, secret=named, name="lamp-4", terms=terms)
    wish = GroupingDesk(one.registry, now=now).wish("lamp-5")
    await one.registry.ask(wish, 1, stage.event("approval.ask"))
    with pytest.raises(KeybornError):
        await one.registry.ask(replace(wish, id=ApprovalId("p1")), 1, stage.event("approval.ask"))
    await office.registry.decide(wish.id, ApprovalState.APPROVED, now + LEASE, stage.event("approve"))
    asked = await one.registry.ask(wish, 1, stage.event("approval.ask"))
    assert asked.state is ApprovalState.APPROVED
    shown = Applicant(Method.ASK, TokenId(asked.id), NameScope("lamp-5"), 1, is_known=False, terms=terms)
    await one.authority.enroll(shown, EnrollmentRequest("lamp-5", make_csr("lamp-5")[1], "192.0.2.1"))
    with pytest.raises(KeybornError):
        await one.enroll(make_csr("lamp-6")[1], secret=named, name="lamp-6", terms=terms)


def _client(stage: Stage, ledger: Ledger) -> object:
    client = stage.stack.client("dynamodb")
    ledger.watch(client)
    return client


async def test_nothing_that_an_enrolment_writes_is_denied_to_its_role(stage: Stage) -> None:
    ledger = Ledger()
    await life(stage, ledger)
    assert {one.action for one in ledger.writes} == {PUT, UPDATE}
    forbidden = {(one.action, one.kind): denied(statements(), one) for one in ledger.writes}
    assert {key: sids for key, sids in forbidden.items() if sids} == {}
    kinds = {one.kind for one in ledger.writes}
    assert kinds >= {"device", "name#", "key#", "cert#", "certs#", "intent#", "open", "paid#", "users#"}
    assert kinds >= {"token", "event", "dirt", "bucket", "place#"}
    assert kinds >= {"nonce#", keys.SUCCESSORS, keys.OWED}
    assert kinds >= {"account#", "asked", "waiting#"}


async def test_of_a_token_an_enrolment_touches_nothing_but_its_count(stage: Stage) -> None:
    ledger = Ledger()
    await life(stage, ledger)
    touched = [one for one in ledger.writes if one.partition == keys.TOKENS]
    assert {one.action for one in touched} == {UPDATE}
    assert frozenset().union(*(one.attributes for one in touched)) <= COUNTED


NEVER = [keys.AUDIT, keys.HEAD[0], keys.POLICIES, "givers#keyborn-default", keys.SEAL[0], MADE]
ANNOUNCED = registered("k1")
NEVER += [keys.GROUPS, keys.rule(LINE)[0], "givers#fleet", keys.registered(ANNOUNCED.key_hash)[0]]
NEVER += [
    keys.group_key(TokenId("k1"))[0],
    keys.registered_in(LINE),
    *map(keys.APPROVALS.__getitem__, DECIDED),
]
NEVER += [keys.CHECKPOINTS, keys.NOTARIES, keys.NOTARY[0]]


@pytest.mark.parametrize("action", [PUT, UPDATE])
@pytest.mark.parametrize("partition", NEVER)
def test_what_an_operator_decides_and_the_trail_are_denied(action: str, partition: str) -> None:
    assert denied(statements(), Write(action, partition))


def test_a_token_cannot_be_made_or_written_over() -> None:
    assert denied(statements(), Write(PUT, keys.TOKENS))


def test_nor_can_one_be_made_attribute_by_attribute() -> None:
    whole = items.token_item(replace(make_token("any", group=LINE), key=b"key"))
    assert {"group", "keyed"} <= whole.keys()
    for name in whole.keys() - COUNTED:
        assert denied(statements(), Write(UPDATE, keys.TOKENS, frozenset({"pk", name}))), name


def test_a_denial_needs_the_key_to_be_there_so_that_it_never_denies_by_a_missing_one() -> None:
    denials = [one for one in statements() if one["Effect"] == "Deny"]
    assert denials
    for one in denials:
        assert all(operator.startswith("ForAnyValue:") for operator in one["Condition"])


@pytest.mark.parametrize("action", [GET, CHECK])
def test_the_key_that_signs_checkpoints_is_the_one_item_that_an_enrolment_may_not_read(action: str) -> None:
    """Nor ask about: conditions would tell it byte by byte."""
    assert denied(statements(), Write(action, keys.NOTARY[0])) == ["NoCheckpoint"]
    for partition in (keys.SEAL[0], keys.TOKENS, keys.NOTARIES, keys.CHECKPOINTS, "device", "cert#0"):
        assert denied(statements(), Write(action, partition)) == []
