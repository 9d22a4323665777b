"""Whatever befalls one call to DynamoDB, or all calls from one on: the same request again sets it right.

The walk is enumerated by the code: each request is made once to list its calls, then once for each call and
each fault. "Once": the fault befalls that call alone. "Lasting": that call and all after it, until the caller
gives up or dies; then the same request comes again, to another process.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import cache
from itertools import count, product
from typing import Any

import pytest

from keyborn.adapters.aws.calls import Patience
from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from keyborn.domain.approval import ApprovalState
from keyborn.domain.audit import verify
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import NotFound, Unavailable
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import EnrollmentToken
from support import ministack
from support.aws_faults import ENDLESS, Fault, Faults, Killed, Plan
from support.figures import Figure
from support.grouping_cases import LINE, GroupingDesk, Rule, hourly, proving, registered
from support.registry_cases import LIFETIME, Desk, event, make_token
from support.walks import FULL

Step = Callable[[GroupingDesk], Awaitable[object]]

LAMP = ThingName("lamp-1")
IMPATIENT = Patience(whole=0.06, first=0.002, longest=0.01)

# ── requests ──────────────────────────────────────────────────────────────────────────────────────────


async def prepare(desk: GroupingDesk) -> None:
    """A group, two policies, a token that enrolls with one of them, and one that replaces."""
    await desk.put_group()
    await desk.put(DEFAULT_POLICY)
    await desk.put("fleet")
    await desk.token("secret", uses=1, policies=["fleet"])
    await desk.token("swap", LAMP, uses=1, replaces=True)


async def known(desk: Desk, secret: str) -> EnrollmentToken:
    token = await desk.registry.find(make_token(secret).id)
    assert token is not None
    return token


async def enroll(desk: Desk) -> object:
    return await desk.enroll(await known(desk, "secret"), LAMP, "k1")


async def claim(desk: Desk) -> object:
    return await desk.registry.claim(desk.attempt(await known(desk, "secret"), LAMP, "k1"))


async def replace_key(desk: Desk) -> object:
    return await desk.enroll(await known(desk, "swap"), LAMP, "k2")


async def connect(desk: Desk) -> object:
    return await desk.connect((await desk.registry.certificates(LAMP))[-1])


async def sweep(desk: Desk) -> object:
    waiting = await desk.registry.leftovers(before=desk.now + LIFETIME)
    return [await desk.registry.drop(one.id, event("sweep", LAMP, desk.now)) for one in waiting]


def order(status: ThingStatus) -> Step:
    async def ordered(desk: Desk) -> object:
        return await desk.order(LAMP, status)

    return ordered


async def attach(desk: Desk) -> object:
    return await desk.attach(LAMP, DEFAULT_POLICY)


async def detach(desk: Desk) -> object:
    return await desk.detach(LAMP, "fleet")


async def put(desk: Desk) -> object:
    return await desk.put("fleet", "Connect")


async def withdraw(desk: Desk) -> object:
    token = await known(desk, "secret")
    return await desk.registry.withdraw(token.id, event("token.withdraw", at=desk.now))


async def read_the_trail(desk: Desk) -> object:
    return await desk.registry.records()


# ── under a group ─────────────────────────────────────────────────────────────────────────────────────

RULE = Rule(limit=2, rate=hourly(2), thing_type="lamp")


async def begin(desk: GroupingDesk) -> object:
    return await desk.registry.claim(desk.joining(await known(desk, "secret"), LAMP, "k1", RULE))


async def join(desk: GroupingDesk) -> object:
    return await desk.join(proving("chip", uses=1), LAMP, "k1", RULE)


async def joined(desk: GroupingDesk) -> object:
    """The same request with another credential: one more account pays for what is open."""
    return await desk.registry.claim(desk.joining(proving("chip", uses=1), LAMP, "k1", RULE))


async def swap_key(desk: GroupingDesk) -> object:
    return await desk.registry.claim(desk.joining(await known(desk, "swap"), LAMP, "k2", RULE))


async def put_group(desk: GroupingDesk) -> object:
    return await desk.put_group(text="changed", policies=["fleet"], secret=b"secret")


async def remove_group(desk: GroupingDesk) -> None:
    with suppress(NotFound):  # an earlier attempt has done it
        await desk.remove_group()


async def move(desk: GroupingDesk) -> object:
    return await desk.move(LAMP, None)


async def describe(desk: GroupingDesk) -> object:
    return await desk.describe(LAMP, {"room": "4"})


async def undescribe(desk: GroupingDesk) -> object:
    return await desk.describe(LAMP, {})


async def release(desk: GroupingDesk) -> object:
    return await desk.release(LAMP)


async def register(desk: GroupingDesk) -> object:
    return await desk.register(*(registered(f"k{number}") for number in range(30)))


async def unregister(desk: GroupingDesk) -> None:
    with suppress(NotFound):
        await desk.unregister("k1")


async def ask(desk: GroupingDesk) -> object:
    return await desk.ask(replace(desk.wish(LAMP), source="192.0.2.1"), most=1)


async def approve(desk: GroupingDesk) -> object:
    return await desk.decide(desk.wish(LAMP))


async def refuse(desk: GroupingDesk) -> object:
    return await desk.decide(desk.wish(LAMP), ApprovalState.REFUSED)


async def forget(desk: GroupingDesk) -> object:
    return await desk.grouping.forget_approvals(before=desk.now + LIFETIME)


SUSPEND, RESUME = order(ThingStatus.SUSPENDED), order(ThingStatus.ACTIVE)
REVOKE, RETIRE = order(ThingStatus.REVOKED), order(ThingStatus.RETIRED)
REQUESTS: dict[str, list[Step]] = {
    "claim": [claim],
    "enroll": [enroll],
    "enroll again": [enroll, enroll],
    "replace": [enroll, replace_key],
    "take over": [enroll, replace_key, connect],
    "suspend": [enroll, replace_key, SUSPEND],
    "resume": [enroll, SUSPEND, RESUME],
    "revoke": [enroll, replace_key, REVOKE],
    "revoke what is under way": [claim, REVOKE],
    "retire": [enroll, RETIRE],
    "free and claim": [enroll, REVOKE, replace_key],
    "sweep": [claim, sweep],
    "attach": [enroll, attach],
    "detach": [enroll, detach],
    "put": [put],
    "withdraw": [withdraw],
    "read the trail": [enroll, read_the_trail],
    "begin in a group": [begin],
    "join": [join],
    "pay for what is open": [begin, joined],
    "sweep a group's": [begin, joined, sweep],
    "put a group": [put_group],
    "remove a group": [put_group, remove_group],
    "move": [join, move],
    "describe": [join, describe],
    "take attributes away": [join, describe, undescribe],
    "release": [join, release],
    "replace what is released": [enroll, release, swap_key],
    "register": [register],
    "unregister": [register, unregister],
    "ask": [ask],
    "approve": [ask, approve],
    "take an approval back": [ask, approve, refuse],
    "forget": [ask, approve, forget],
}
"""Each is a list of steps; the last one is the request that meets the faults."""
RARE = {
    "join",
    "put a group",
    "move",
    "describe",
    "release",
    "replace what is released",
    "unregister",
    "ask",
    "approve",
    "forget",
}
"""Walked only where all is walked: what they write has the shape of others."""
WALKED = [pytest.param(name, marks=pytest.mark.whole) if name in RARE else name for name in REQUESTS]

FAULTS = [Fault.THROTTLED, Fault.BROKEN, Fault.UNSENT, Fault.UNHEARD, Fault.KILLED]
SPANS = {"once": 1, "lasting": ENDLESS}


def faults_at(number: int, name: str) -> list[Fault]:
    """All that may befall a call; `make test` takes one of them, another one for each call and request."""
    if FULL:
        return list(Fault)
    first = number + list(REQUESTS).index(name)
    return [FAULTS[first % len(FAULTS)]]


# ── the walk ──────────────────────────────────────────────────────────────────────────────────────────


@cache
def faults() -> Faults:
    """One client with hooks for the whole walk."""
    return Faults(ministack.shared().client("dynamodb"))


@asynccontextmanager
async def process(table: str, first: int, *, patience: Patience | None = None) -> AsyncIterator[GroupingDesk]:
    """Another process on the same table: it remembers nothing. Its ids and serials begin at ``first``."""
    async with DynamoRegistry(faults().client, table, patience=patience) as registry:
        yield GroupingDesk(registry, numbers=count(first))


async def set_out(steps: list[Step]) -> list[dict[str, Any]]:
    """The items of a table where everything but the last step has been done."""
    table = ministack.new_table(faults().client)
    async with process(table, 1) as desk:
        await prepare(desk)
        for step in steps[:-1]:
            await step(desk)
    items: list[dict[str, Any]] = faults().client.scan(TableName=table, ConsistentRead=True)["Items"]
    return items


def laid_out(items: list[dict[str, Any]]) -> str:
    """A new table with these items."""
    table = ministack.new_table(faults().client)
    puts = [{"PutRequest": {"Item": item}} for item in items]
    for start in range(0, len(puts), 25):
        faults().client.batch_write_item(RequestItems={table: puts[start : start + 25]})
    return table


async def meet(table: str, request: Step, *plans: Plan) -> bool:
    """Make the request while the fault lasts, then again until it is answered; whether it failed at first."""
    failed = False
    async with process(table, 1000, patience=IMPATIENT) as desk:
        with faults().planned(*plans):
            try:
                await request(desk)
            except (Unavailable, Killed):
                failed = True
    if failed:
        async with process(table, 2000) as desk:
            await request(desk)
    return failed


async def seen(table: str) -> dict[str, Any]:
    """All that the ports show, but for names that each run makes anew."""
    async with process(table, 3000) as desk:
        registry = desk.registry
        assert isinstance(registry, DynamoRegistry)
        certificates = await registry.certificates(LAMP)
        trail = await registry.records()
        assert verify(trail).sequence == len(trail)
        active = [(one.thing, one.slot) for one in certificates if one.status is CertificateStatus.ACTIVE]
        assert len(active) == len(set(active)), "one for each slot"
        owed = await registry.owed(before=desk.now + LIFETIME)
        return {
            "things": await registry.things(),
            "certificates": [(one.key_hash, one.status, one.slot, one.connected_at) for one in certificates],
            "open": [one.key_hash for one in await registry.leftovers(before=desk.now + LIFETIME)],
            "tokens": await registry.tokens(),
            "policies": await registry.policies(),
            "users": await registry.users(PolicyName("fleet")),
            "trail": [record.event.action for record in trail],
            "owed": [(one.status, one.attach, one.detach, one.gone) for one in owed],
            "accounts": counted(table),
            **await seen_of_groups(desk),
        }


async def seen_of_groups(desk: GroupingDesk) -> dict[str, Any]:
    """The same of what groups are about."""
    registry = desk.grouping
    return {
        "groups": await registry.groups(),
        "registered": await registry.registered_in(LINE),
        "approvals": [await registry.approvals(state) for state in ApprovalState],
    }


def counted(table: str) -> dict[tuple[str, str], int]:
    """How often each account was charged, and with which pairs."""
    items = faults().client.scan(TableName=table, ConsistentRead=True)["Items"]
    found = {(one["pk"]["S"], one["sk"]["S"]): one for one in items if "void" not in one}
    kept = {key: one for key, one in found.items() if key[0].startswith(("account#", "paid#", "waiting#"))}
    return {key: int(one.get("taken", {"N": "1"})["N"]) for key, one in kept.items()}


async def calls_of(items: list[dict[str, Any]], request: Step) -> tuple[list[str], dict[str, Any]]:
    """The calls that a request makes where nothing goes wrong, and what it comes to."""
    table = laid_out(items)
    async with process(table, 1000) as desk:
        with faults().listening() as calls:
            await request(desk)
    return [call.operation for call in calls], await seen(table)


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKED)
async def test_a_repeat_after_any_fault_of_any_call_sets_it_right(name: str, figure: Figure) -> None:
    *_, request = steps = REQUESTS[name]
    items = await set_out(steps)
    calls, expected = await calls_of(items, request)
    assert calls
    walked = failed = 0
    for number, operation in enumerate(calls):
        for fault, (span, times) in product(faults_at(number, name), SPANS.items()):
            table = laid_out(items)
            interrupted = await meet(table, request, Plan(fault, number, times))
            assert interrupted or span == "once", "whoever hears nothing gives up in the end"
            assert await seen(table) == expected, f"{fault}, {span}, at call {number}, {operation}"
            walked, failed = walked + 1, failed + interrupted
    assert failed >= walked / 2, "whatever lasts cuts the request short"
    figure(
        f"faults in DynamoDB, {name}: {len(calls)} calls, {walked} runs, {failed} cut short, all set right"
    )
