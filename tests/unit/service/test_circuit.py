"""The fuse: how many ask at a time, when nobody does, and what is kept."""

from contextlib import suppress
from datetime import timedelta

import pytest

from keyborn.service import circuit
from keyborn.service.circuit import MOST_FAILURES, PAUSE, Blown, Circuit, Failed
from keyborn.testing.time import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def fuses(clock: VirtualClock) -> Circuit:
    return Circuit(clock, most_running=2)


async def succeed(fuses: Circuit, name: str = "a") -> None:
    async with fuses.through(name):
        pass


async def fail(fuses: Circuit, name: str = "a") -> None:
    with suppress(Failed):
        async with fuses.through(name):
            raise Failed


async def blown(fuses: Circuit, name: str = "a") -> int:
    with pytest.raises(Blown) as caught:
        await succeed(fuses, name)
    return caught.value.seconds


async def test_so_many_ask_at_a_time_and_no_more(fuses: Circuit) -> None:
    async with fuses.through("a"), fuses.through("a"):
        assert await blown(fuses) == 1
        await succeed(fuses, "b")
    await succeed(fuses)


async def test_after_failures_in_a_row_nobody_asks_for_a_while(fuses: Circuit, clock: VirtualClock) -> None:
    for _ in range(MOST_FAILURES):
        await fail(fuses)
    assert await blown(fuses) == 10
    clock.advance(timedelta(seconds=4))
    assert await blown(fuses) == 6
    await succeed(fuses, "b")
    clock.advance(PAUSE)
    await succeed(fuses)
    await fail(fuses)
    await succeed(fuses)


async def test_a_success_between_failures_counts_them_anew(fuses: Circuit) -> None:
    for _ in range(3):
        for _ in range(MOST_FAILURES - 1):
            await fail(fuses)
        await succeed(fuses)


async def test_after_the_pause_one_looks_whether_it_is_better(fuses: Circuit, clock: VirtualClock) -> None:
    for _ in range(MOST_FAILURES):
        await fail(fuses)
    clock.advance(PAUSE)
    async with fuses.through("a"):
        assert await blown(fuses) == 1, "one at a time until it is known"
    async with fuses.through("a"), fuses.through("a"):
        pass


async def test_one_failure_more_and_the_pause_begins_again(fuses: Circuit, clock: VirtualClock) -> None:
    for _ in range(MOST_FAILURES):
        await fail(fuses)
    clock.advance(PAUSE)
    await fail(fuses)
    assert await blown(fuses) == 10


async def test_what_is_no_failure_of_the_other_side_is_none(fuses: Circuit) -> None:
    for _ in range(MOST_FAILURES):
        with pytest.raises(RuntimeError):
            async with fuses.through("a"):
                raise RuntimeError
    await succeed(fuses)


async def test_a_clock_that_is_set_back_does_not_keep_it_blown(clock: VirtualClock) -> None:
    clock.advance(timedelta(days=9))
    fuses = Circuit(clock)
    for _ in range(MOST_FAILURES):
        await fail(fuses)
    fuses._clock = VirtualClock()
    await succeed(fuses)


async def test_what_succeeds_is_not_kept_and_of_what_fails_only_so_much(
    fuses: Circuit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "MOST_NAMES", 3)
    for number in range(9):
        await succeed(fuses, f"good-{number}")
    assert not fuses._fuses
    async with fuses.through("busy"):
        for number in range(9):
            await fail(fuses, f"bad-{number}")
        assert list(fuses._fuses) == ["busy", "bad-7", "bad-8"]


async def test_those_that_are_busy_are_kept_however_many(
    fuses: Circuit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "MOST_NAMES", 1)
    async with fuses.through("a"), fuses.through("b"):
        await fail(fuses, "c")
        assert list(fuses._fuses) == ["a", "b"]
        async with fuses.through("a"):
            assert await blown(fuses) == 1
