"""Groups, announced keys and approvals keep what they were given; what a tally may get wrong."""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given, strategies as st

from keyborn.adapters.aws.table import approvals, grouped
from keyborn.adapters.aws.table.values import from_wire, to_wire
from keyborn.domain.approval import Approval, ApprovalState, approval_id
from keyborn.domain.group import GroupDocument
from keyborn.domain.names import ThingName
from support.grouping_cases import LINE, registered
from support.registry_cases import LIFETIME, START, key, policy_names


def test_what_groups_are_about_comes_back() -> None:
    document = GroupDocument(LINE, "name = 1\r\n", START, 3, policy_names("a", "b"), b"\0")
    for one in (document, replace(document, webhook_secret=None, policies=())):
        assert grouped.group({**from_wire(to_wire(grouped.group_item(one))), "sk": LINE}) == one
    announced = registered("k1")
    assert grouped.registered(from_wire(to_wire(grouped.registered_item(announced)))) == announced


@pytest.mark.parametrize("state", ApprovalState)
@pytest.mark.parametrize("decided", [None, START])
def test_an_approval_comes_back(state: ApprovalState, decided: datetime | None) -> None:
    identity = approval_id(LINE, ThingName("lamp-1"), key("k1"))
    asked = Approval(
        identity, LINE, ThingName("lamp-1"), key("k1"), "192.0.2.1", START, START + LIFETIME, replaces=True
    )
    one = replace(asked, state=state, decided_by="ops", decided_at=decided)
    item = {**from_wire(to_wire(grouped.approval_item(one))), "sk": identity}
    assert grouped.approval(item, state) == one


# ── how many wait ─────────────────────────────────────────────────────────────────────────────────────

MOMENT = st.integers(1, 300)


@given(st.lists(MOMENT, max_size=200), st.lists(MOMENT, max_size=40))
def test_a_tally_never_counts_less_than_wait_and_all_while_it_is_short(
    asked: list[int], decided: list[int]
) -> None:
    tally: approvals.Tally = ()
    waiting: list[int] = []
    for until in asked:
        tally = approvals.joined(tally, until)
        waiting.append(until)
    for until in decided:
        if until in waiting:
            waiting.remove(until)
            tally = approvals.left(tally, until)
    assert len(tally) <= approvals.FINEST
    assert list(tally) == sorted(tally)
    assert sum(count for _, count in tally) == len(waiting)
    for now in range(0, 300, 7):
        counted = sum(count for until, count in tally if until > now)
        wait = sum(until > now for until in waiting)
        assert counted >= wait
        if len(set(asked)) <= approvals.FINEST:
            assert counted == wait


def test_who_was_never_counted_takes_nothing_away() -> None:
    assert approvals.left((), 5) == ()
    assert approvals.left(((3, 1),), 5) == ((3, 1),)
    assert approvals.left(((3, 1), (5, 2)), 4) == ((3, 1), (5, 1))
