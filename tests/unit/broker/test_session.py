"""A session keeps what it must, forgets what it may, and its books balance."""

from dataclasses import replace

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.message import Message
from keyborn.adapters.broker.session import Budget, Session
from keyborn.domain.access import Principal
from keyborn.domain.names import CertificateId, ThingName
from support.rights import Anything

ME = Principal(CertificateId("1" * 64), ThingName("me"), Anything())
COST = Message("t", b"").cost


def message(number: int, thing: str = "me") -> Message:
    return Message("t", str(number).encode(), qos=1, thing=ThingName(thing))


def session(limits: Limits | None = None, budget: Budget | None = None) -> Session:
    return Session("me", ME, limits or Limits(), budget or Budget(1 << 20))


def test_messages_leave_in_the_order_they_came_each_with_its_own_identifier() -> None:
    mine = session()
    for number in range(3):
        assert mine.offer(message(number), 1, retain=False)
    taken = [mine.take() for _ in range(4)]
    assert [each and each[0] for each in taken] == [1, 2, 3, None]
    assert [each and each[1].message.payload for each in taken] == [b"0", b"1", b"2", None]
    assert mine.unacknowledged() == [1, 2, 3]


def test_an_identifier_comes_back_only_after_its_acknowledgement() -> None:
    mine = session(Limits(queue_messages=70_000, queue_bytes=1 << 30), Budget(1 << 30))
    for number in range(65_536):
        mine.offer(message(number), 1, retain=False)
    assert mine.take() is not None
    for expected in range(2, 65_536):
        taken = mine.take()
        assert taken is not None
        assert taken[0] == expected
        assert mine.acknowledge(expected)
    again = mine.take()
    assert again is not None
    assert again[0] == 2, "1 is still under way"


def test_an_unknown_acknowledgement_changes_nothing() -> None:
    mine = session()
    assert not mine.acknowledge(1)
    assert mine.held_bytes == 0


def test_a_full_queue_takes_no_more() -> None:
    mine = session(Limits(queue_messages=2))
    assert [mine.offer(message(number), 1, retain=False) for number in range(3)] == [True, True, False]
    assert mine.offer(message(9), 0, retain=False), "QoS 0 has a queue of its own"
    assert mine.queued == 3


def test_bytes_are_bounded_per_session_and_in_all() -> None:
    small = session(Limits(queue_bytes=2 * COST + 2))
    assert [small.offer(message(number), 1, retain=False) for number in range(3)] == [True, True, False]
    shared = Budget(COST + 1)
    one, other = session(budget=shared), session(budget=shared)
    assert one.offer(message(1), 1, retain=False)
    assert not other.offer(message(2), 1, retain=False)
    one.clear()
    assert other.offer(message(2), 1, retain=False)


@pytest.mark.parametrize("hogs", [1, 7, 80])
def test_however_many_queues_are_full_there_is_room_for_a_short_one(hogs: int) -> None:
    shared = Budget(1000 * COST)
    full = [session(budget=shared) for _ in range(hogs)]
    while sum(each.offer(message(1), 1, retain=False) for each in full):
        pass
    longest = max(each.held_bytes for each in full)
    one = message(1).cost
    assert longest - min(each.held_bytes for each in full) <= one, "none has more than its like"
    assert shared.free >= longest - one, "and as much is left as one of them holds"
    short = session(budget=shared)
    for number in range(20):
        assert short.offer(message(number), 1, retain=False)
        taken = short.take()
        assert taken is not None
        short.acknowledge(taken[0])


def test_messages_under_way_still_count_until_they_are_acknowledged() -> None:
    mine = session(Limits(queue_bytes=COST + 1))
    assert mine.offer(message(1), 1, retain=False)
    taken = mine.take()
    assert taken is not None
    assert not mine.offer(message(2), 1, retain=False)
    mine.acknowledge(taken[0])
    assert mine.offer(message(2), 1, retain=False)


def test_qos_0_does_not_wait_for_another_connection() -> None:
    mine = session()
    mine.offer(message(0), 0, retain=False)
    mine.offer(message(1), 1, retain=False)
    mine.forget_qos0()
    assert mine.take0() is None
    assert mine.queued == 1


def test_a_purge_forgets_one_things_messages_wherever_they_are() -> None:
    budget = Budget(1 << 20)
    mine = session(budget=budget)
    for number in range(2):
        for thing in ("me", "other"):
            mine.offer(message(number, thing), 1, retain=False)
            mine.offer(message(number, thing), 0, retain=False)
    assert mine.take() is not None
    assert mine.take() is not None
    assert mine.purge_from(ThingName("other")) == 4
    assert (mine.in_flight, mine.queued) == (1, 3)
    assert budget.used == mine.held_bytes == 4 * (COST + 1)
    assert mine.sent(2) is None


class Books(RuleBasedStateMachine):
    """Whatever happens, bytes held are the bytes of what is held, and the shared budget agrees."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = replace(Limits(), queue_messages=4, queue_bytes=6 * COST)
        self.budget = Budget(8 * COST)
        self.sessions = [session(self.limits, self.budget), session(self.limits, self.budget)]

    @rule(which=st.integers(0, 1), qos=st.integers(0, 1), thing=st.sampled_from(["me", "other"]))
    def offer(self, which: int, qos: int, thing: str) -> None:
        self.sessions[which].offer(message(7, thing), qos, retain=False)

    @rule(which=st.integers(0, 1))
    def take(self, which: int) -> None:
        taken = self.sessions[which].take()
        assert taken is None or self.sessions[which].sent(taken[0]) is taken[1]

    @rule(which=st.integers(0, 1))
    def take0(self, which: int) -> None:
        self.sessions[which].take0()

    @precondition(lambda self: any(each.in_flight for each in self.sessions))
    @rule(which=st.integers(0, 1), number=st.integers(0, 8))
    def acknowledge(self, which: int, number: int) -> None:
        under_way = self.sessions[which].unacknowledged()
        known = number in under_way
        assert self.sessions[which].acknowledge(number) is known

    @rule(which=st.integers(0, 1), thing=st.sampled_from(["me", "other"]))
    def purge(self, which: int, thing: str) -> None:
        mine = self.sessions[which]
        before = mine.queued + mine.in_flight
        assert mine.purge_from(ThingName(thing)) == before - mine.queued - mine.in_flight

    @rule(which=st.integers(0, 1))
    def clear(self, which: int) -> None:
        self.sessions[which].clear()

    @invariant()
    def the_books_balance(self) -> None:
        for each in self.sessions:
            assert each.held_bytes == (each.queued + each.in_flight) * (COST + 1)
            assert each.held_bytes <= self.limits.queue_bytes
        assert self.budget.used == sum(each.held_bytes for each in self.sessions)
        assert self.budget.used <= 8 * COST


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=30)
