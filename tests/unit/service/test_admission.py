import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.errors import CredentialRefused, Overloaded, Throttled
from keyborn.service.admission import Admission, FailureBudget, LateRefusals, RecordBudget, neighborhood
from keyborn.service.strangers import Strangers
from support.office import TurnedClock


@dataclass
class TurnedSeconds:
    """A monotonic clock that a test turns."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


async def test_no_more_callers_run_at_once_than_there_are_slots() -> None:
    admission = Admission(slots=3)
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        async with admission.slot():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(work() for _ in range(50)))
    assert most == 3


async def test_a_full_queue_answers_overloaded_at_once_with_a_time_to_come_back() -> None:
    admission = Admission(slots=1, waiting=1)
    async with admission.slot():
        waiter = asyncio.create_task(_enter(admission))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await _enter(admission)
        assert refused.value.retry_after
    await waiter


async def _crowd(clock: TurnedSeconds, refused: int) -> list[int]:
    """What so many are told where a request takes a tenth of a second."""
    admission = Admission(slots=1, waiting=40, monotonic=clock.monotonic)

    async def work() -> None:
        async with admission.slot():
            await asyncio.sleep(0)
            clock.now += 0.1

    await asyncio.gather(*(work() for _ in range(40)))
    told = []
    async with admission.slot():
        line = [asyncio.create_task(_enter(admission)) for _ in range(40)]
        await asyncio.sleep(0)
        for _ in range(refused):
            with pytest.raises(Overloaded) as wrong:
                await _enter(admission)
            told.append(int(wrong.value.retry_after or 0))
    await asyncio.gather(*line)
    return told


async def test_the_more_are_refused_the_later_they_come_again() -> None:
    few, crowd = await _crowd(TurnedSeconds(), 10), await _crowd(TurnedSeconds(), 1000)
    assert set(few) <= {1, 2, 3, 4}
    assert min(crowd) >= 1
    assert 15 < max(crowd[:250]) <= 25, "twenty-five seconds of work are away by then"
    assert 25 < max(crowd) <= 30


async def test_an_idle_hour_is_not_taken_for_a_slow_request() -> None:
    clock = TurnedSeconds()
    admission = Admission(slots=1, waiting=1, monotonic=clock.monotonic)
    await _enter(admission)
    clock.now += 3600
    async with admission.slot():
        line = asyncio.create_task(_enter(admission))
        await asyncio.sleep(0)
    await line
    told = []
    async with admission.slot():
        line = asyncio.create_task(_enter(admission))
        await asyncio.sleep(0)
        for _ in range(50):
            with pytest.raises(Overloaded) as wrong:
                await _enter(admission)
            told.append(wrong.value.retry_after or 0)
    await line
    assert max(told) <= 4


async def test_who_waits_is_counted_until_the_slot_is_there() -> None:
    admission = Admission(slots=1)
    async with admission.slot():
        assert admission.waiting == 0
        waiters = [asyncio.create_task(_enter(admission)) for _ in range(3)]
        await asyncio.sleep(0)
        assert admission.waiting == 3
        assert admission.is_crowded
    await asyncio.gather(*waiters)
    assert admission.waiting == 0


async def test_a_caller_who_waits_too_long_is_told_so_and_leaves_no_trace() -> None:
    admission = Admission(slots=1, patience=0.01)
    async with admission.slot():
        with pytest.raises(Overloaded):
            await _enter(admission)
    await _enter(admission)


async def test_a_slot_comes_back_when_its_work_fails() -> None:
    admission = Admission(slots=1, patience=0.01)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await _fail(admission)
    await _enter(admission)


async def test_a_cancelled_waiter_does_not_keep_a_slot() -> None:
    admission = Admission(slots=1, patience=5)
    async with admission.slot():
        waiter = asyncio.create_task(_enter(admission))
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    await asyncio.wait_for(_enter(admission), 1)


async def _enter(admission: Admission) -> None:
    async with admission.slot():
        pass


async def _fail(admission: Admission) -> None:
    async with admission.slot():
        raise ZeroDivisionError


def test_a_source_may_fail_as_often_as_its_burst_and_no_more() -> None:
    budget = FailureBudget(burst=3, per_minute=60)
    for _ in range(3):
        budget.charge("192.0.2.1", NOON)
    with pytest.raises(Throttled) as refused:
        budget.charge("192.0.2.1", NOON)
    assert refused.value.retry_after == 1


def test_failures_of_one_source_do_not_count_for_another() -> None:
    budget = FailureBudget(burst=1)
    budget.charge("192.0.2.1", NOON)
    budget.charge("192.0.2.2", NOON)


def test_the_budget_comes_back_with_time() -> None:
    budget = FailureBudget(burst=1, per_minute=60)
    budget.charge("192.0.2.1", NOON)
    with pytest.raises(Throttled):
        budget.charge("192.0.2.1", NOON)
    budget.charge("192.0.2.1", NOON + timedelta(seconds=2))


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    budget = FailureBudget(burst=1, per_minute=60)
    budget.charge("192.0.2.1", NOON)
    with pytest.raises(Throttled):
        budget.charge("192.0.2.1", NOON - timedelta(days=1))


def test_memory_stays_bounded_however_many_sources_fail() -> None:
    budget = FailureBudget(burst=1, sources=100)
    for number in range(1000):
        budget.charge(f"source-{number}", NOON)
    assert len(budget._left) == 100
    with pytest.raises(Throttled):
        budget.charge("source-999", NOON)


def test_records_of_strangers_are_bounded_and_the_next_one_says_how_many_there_were() -> None:
    budget = RecordBudget(burst=2, per_minute=6)
    assert [budget.take(NOON) for _ in range(5)] == [0, 0, None, None, None]
    assert budget.take(NOON + timedelta(seconds=9)) is None
    assert budget.take(NOON + timedelta(seconds=10)) == 4
    assert budget.take(NOON + timedelta(seconds=11)) is None
    assert budget.take(NOON + timedelta(hours=1)) == 1
    assert budget.take(NOON + timedelta(hours=1)) == 0


def test_a_clock_that_goes_back_makes_room_for_no_record() -> None:
    budget = RecordBudget(burst=1)
    assert budget.take(NOON) == 0
    assert budget.take(NOON - timedelta(days=1)) is None


# ── refusals that come late ──


async def test_refusals_are_held_for_a_drawn_time_and_no_more_of_them_than_memory_is_for() -> None:
    asked: list[float] = []
    release = asyncio.Event()

    async def _sleep(seconds: float) -> None:
        asked.append(seconds)
        await release.wait()

    late = LateRefusals(most=2, longest=4.0, sleep=_sleep, fraction=lambda: 0.25)
    held = [asyncio.create_task(late.hold()) for _ in range(2)]
    await asyncio.sleep(0)
    await late.hold()
    assert asked == [1.0, 1.0], "the third one is given at once"
    release.set()
    await asyncio.gather(*held)
    await late.hold()
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("source", "whose"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:a:b:c:d", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_who_has_a_network_of_ipv6_has_one_budget(source: str, whose: str) -> None:
    assert neighborhood(source) == whose


async def test_a_stranger_in_one_network_runs_out_whatever_address_it_takes() -> None:
    held = 0

    async def _sleep(_seconds: float) -> None:
        nonlocal held
        held += 1

    registry = MemoryRegistry()
    strangers = Strangers(registry, TurnedClock(), FailureBudget(burst=3), LateRefusals(sleep=_sleep))
    for number in range(3):
        await strangers.refused("enroll", f"2001:db8::{number}", CredentialRefused())
    with pytest.raises(Throttled):
        await strangers.refused("enroll", "2001:db8::9", CredentialRefused())
    await strangers.refused("enroll", "2001:db8:0:1::9", CredentialRefused())
    assert held == 1
