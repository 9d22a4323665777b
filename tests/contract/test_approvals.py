"""Requests that wait for a person: the same everywhere."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from keyborn.domain.approval import Approval, ApprovalId, ApprovalState, approval_id
from keyborn.domain.errors import ApprovalsFull, NotFound
from support.grouping_cases import OTHER, GroupingDesk, Two
from support.registry_cases import HOUR, event

APPROVED, PENDING, REFUSED = ApprovalState.APPROVED, ApprovalState.PENDING, ApprovalState.REFUSED
TICK = timedelta(milliseconds=1)


async def test_a_request_is_kept_and_told_once(line: GroupingDesk) -> None:
    wish = replace(line.wish("lamp-1"), replaces=True)

    assert await line.ask(wish) == wish

    line.pass_time(timedelta(minutes=5))
    assert await line.ask(line.wish("lamp-1")) == wish, "the first one, with its address and its time"
    assert await line.grouping.approval(wish.id) == wish
    assert await line.grouping.approvals(PENDING) == [wish]
    assert await line.grouping.approval(ApprovalId("p0")) is None
    assert await line.told() == ["approval.ask"]


async def test_another_key_name_or_group_is_another_request(line: GroupingDesk) -> None:
    wishes = [
        line.wish("lamp-1"),
        line.wish("lamp-1", "k2"),
        line.wish("lamp-2"),
        line.wish("lamp-1", group=OTHER),
    ]
    for wish in wishes:
        assert await line.ask(wish) == wish
    kept = await line.grouping.approvals(PENDING)
    assert kept == sorted(wishes, key=lambda one: one.id)


async def test_requests_come_in_pages_by_id(line: GroupingDesk) -> None:
    wishes = [await line.ask(line.wish(f"lamp-{number}")) for number in range(5)]
    await line.decide(wishes[4])
    ordered = sorted(wishes[:4], key=lambda one: one.id)
    first = await line.grouping.approvals(PENDING, limit=2)
    assert first == ordered[:2]
    assert await line.grouping.approvals(PENDING, after=first[-1].id) == ordered[2:]
    assert [one.id for one in await line.grouping.approvals(APPROVED)] == [wishes[4].id]
    assert await line.grouping.approvals(REFUSED) == []
    assert await line.grouping.approvals(PENDING, limit=0) == []


# ── a person's word ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [APPROVED, REFUSED])
async def test_a_decision_is_kept_with_who_and_when_and_until(
    line: GroupingDesk, state: ApprovalState
) -> None:
    wish = await line.ask(line.wish("lamp-1"))
    line.pass_time(timedelta(minutes=1))

    decided = await line.decide(wish, state, 2 * HOUR)

    assert decided == replace(
        wish, state=state, decided_by="tester", decided_at=line.now, expires_at=line.now + 2 * HOUR
    )
    assert await line.grouping.approval(wish.id) == decided
    assert await line.ask(line.wish("lamp-1")) == decided, "it is asked for no second time"
    assert await line.grouping.approvals(PENDING) == []
    assert await line.told() == ["approval.ask", "approval.decide"]


async def test_a_request_that_replaces_a_key_is_decided_apart_from_the_other_one(line: GroupingDesk) -> None:
    plain = await line.ask(line.wish("lamp-1"))
    own = approval_id(plain.group, plain.thing, plain.key_hash, replaces=True)
    replacing = await line.ask(replace(line.wish("lamp-1"), id=own, replaces=True))
    assert (replacing.code, replacing.words) == (plain.code, plain.words)

    decided = await line.decide(replacing)

    assert (decided.state, decided.replaces) == (APPROVED, True)
    assert await line.grouping.approval(own) == decided
    assert await line.grouping.approval(plain.id) == plain


async def test_deciding_again_changes_and_appends_nothing(line: GroupingDesk) -> None:
    wish = await line.ask(line.wish("lamp-1"))
    decided = await line.decide(wish)
    line.pass_time(timedelta(minutes=1))
    assert await line.decide(wish, span=3 * HOUR) == decided
    assert await line.grouping.approval(wish.id) == decided
    assert await line.told() == ["approval.ask", "approval.decide"]


async def test_the_last_word_counts(line: GroupingDesk) -> None:
    wish = await line.ask(line.wish("lamp-1"))
    for state in (APPROVED, REFUSED, APPROVED):
        line.pass_time(TICK)
        assert (await line.decide(wish, state)).state is state
    kept = await line.grouping.approval(wish.id)
    assert kept is not None
    assert (kept.state, kept.decided_at) == (APPROVED, line.now)
    assert (await line.told()).count("approval.decide") == 3


async def test_nobody_decides_what_was_not_asked_or_has_expired(line: GroupingDesk) -> None:
    wish = line.wish("lamp-1")
    with pytest.raises(NotFound, match="no approval called"):
        await line.decide(wish)
    await line.ask(wish)
    line.pass_time(HOUR)
    with pytest.raises(NotFound):
        await line.decide(wish)
    assert await line.grouping.approval(wish.id) == wish
    assert await line.told() == ["approval.ask"]


async def test_a_decision_that_has_expired_cannot_be_changed(line: GroupingDesk) -> None:
    wish = await line.ask(line.wish("lamp-1"))
    decided = await line.decide(wish, span=HOUR)
    line.pass_time(HOUR)
    with pytest.raises(NotFound):
        await line.decide(wish, REFUSED)
    assert await line.grouping.approval(wish.id) == decided


async def test_pending_is_no_decision(line: GroupingDesk) -> None:
    wish = await line.ask(line.wish("lamp-1"))
    with pytest.raises(ValueError, match="pending"):
        await line.decide(wish, PENDING)


# ── expiry ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", ApprovalState)
async def test_what_has_expired_makes_room_for_a_new_request(
    line: GroupingDesk, state: ApprovalState
) -> None:
    wish = await line.ask(line.wish("lamp-1"))
    if state is not PENDING:
        await line.decide(wish, state, HOUR)
    line.pass_time(HOUR - TICK)
    assert (await line.ask(line.wish("lamp-1"))).state is state
    line.pass_time(TICK)

    again = line.wish("lamp-1")

    assert await line.ask(again, most=1) == again
    assert await line.grouping.approval(wish.id) == again
    assert await line.grouping.approvals(PENDING) == [again]
    assert (await line.told()).count("approval.ask") == 2


async def test_what_has_expired_is_forgotten_in_pages(line: GroupingDesk) -> None:
    for number in range(5):
        await line.ask(line.wish(f"lamp-{number}"))
    line.pass_time(HOUR + TICK)
    kept = await line.ask(line.wish("lamp-9"))

    assert await line.grouping.forget_approvals(before=line.now - HOUR - TICK) == 0
    assert await line.grouping.forget_approvals(before=line.now, limit=3) == 3
    assert await line.grouping.forget_approvals(before=line.now, limit=3) == 2
    assert await line.grouping.forget_approvals(before=line.now, limit=3) == 0

    assert await line.grouping.approvals(PENDING) == [kept]


async def test_decisions_are_forgotten_too(line: GroupingDesk) -> None:
    for number, state in enumerate((APPROVED, REFUSED)):
        await line.decide(await line.ask(line.wish(f"lamp-{number}")), state, 3 * HOUR)
    line.pass_time(2 * HOUR)
    assert await line.grouping.forget_approvals(before=line.now) == 0
    line.pass_time(HOUR + TICK)
    assert await line.grouping.forget_approvals(before=line.now) == 2


# ── how many may wait ─────────────────────────────────────────────────────────────────────────────────


async def test_no_more_wait_than_may(line: GroupingDesk) -> None:
    wishes = [await line.ask(line.wish(f"lamp-{number}"), most=3) for number in range(3)]
    before = await line.told()

    with pytest.raises(ApprovalsFull, match="Too many devices wait") as refused:
        await line.ask(line.wish("lamp-3"), most=3)

    assert refused.value.retry_after == 60.0
    assert await line.told() == before
    assert await line.ask(line.wish("lamp-0"), most=3) == wishes[0], "who waits already, goes on waiting"
    assert await line.ask(line.wish("lamp-3", group=OTHER), most=3), "another group has its own places"


@pytest.mark.parametrize("state", [APPROVED, REFUSED])
async def test_a_decision_gives_its_place_back(line: GroupingDesk, state: ApprovalState) -> None:
    wish = await line.ask(line.wish("lamp-1"), most=1)
    await line.decide(wish, state)
    await line.ask(line.wish("lamp-2"), most=1)
    with pytest.raises(ApprovalsFull):
        await line.ask(line.wish("lamp-3"), most=1)


async def test_who_has_expired_has_no_place(line: GroupingDesk) -> None:
    await line.ask(line.wish("lamp-1"), most=1)
    line.pass_time(HOUR - TICK)
    with pytest.raises(ApprovalsFull):
        await line.ask(line.wish("lamp-2"), most=1)
    line.pass_time(TICK)
    await line.ask(line.wish("lamp-2"), most=1)
    with pytest.raises(ApprovalsFull):
        await line.ask(line.wish("lamp-1"), most=1)


# ── many at once ──────────────────────────────────────────────────────────────────────────────────────


async def test_asking_many_times_at_once_is_one_request(two: Two, line: GroupingDesk) -> None:
    wishes = [line.wish("lamp-1") for _ in range(8)]
    kept = await asyncio.gather(
        *(two[each % 2].ask(wish, 1, event("approval.ask")) for each, wish in enumerate(wishes))
    )
    assert len(set(kept)) == 1
    assert await line.grouping.approvals(PENDING) == [kept[0]]
    assert await line.told() == ["approval.ask"]


async def test_of_many_at_once_no_more_wait_than_may(two: Two, line: GroupingDesk) -> None:
    wishes = [line.wish(f"lamp-{number}") for number in range(12)]
    outcomes = await asyncio.gather(
        *(two[each % 2].ask(wish, 4, event("approval.ask")) for each, wish in enumerate(wishes)),
        return_exceptions=True,
    )
    waiting = [one for one in outcomes if isinstance(one, Approval)]
    assert len(waiting) == 4
    assert {type(one) for one in outcomes if not isinstance(one, Approval)} == {ApprovalsFull}
    assert len(await line.grouping.approvals(PENDING)) == 4
    assert await line.told() == ["approval.ask"] * 4


async def test_two_decisions_at_once_are_told_one_after_the_other(two: Two, line: GroupingDesk) -> None:
    wish = await line.ask(line.wish("lamp-1"))
    until = line.now + HOUR
    yes, no = await asyncio.gather(
        two[0].decide(wish.id, APPROVED, until, event("yes")),
        two[1].decide(wish.id, REFUSED, until, event("no")),
    )
    assert (yes.state, no.state) == (APPROVED, REFUSED)
    last = {"yes": yes, "no": no}[(await line.told())[-1]]
    assert await line.grouping.approval(wish.id) == last
