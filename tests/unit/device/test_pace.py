"""Waiting: full jitter, caps, deadlines."""

import pytest
from hypothesis import given, strategies as st

from keyborn.device.pace import LONGEST_DELAY, LONGEST_REQUESTED, Deadline, Pace


def pace(fraction: float) -> Pace:
    return Pace(lambda: 100.0, lambda _seconds: None, lambda: fraction)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_back_off_lies_between_nothing_and_its_cap(attempt: int, fraction: float) -> None:
    assert 0 <= pace(fraction).backoff(attempt) < LONGEST_DELAY


def test_a_back_off_doubles_until_its_cap() -> None:
    assert [pace(1).backoff(attempt) for attempt in range(7)] == [0.5, 1, 2, 4, 8, 16, 20]


@given(st.floats(0, 1e12), st.floats(0, 1, exclude_max=True))
def test_a_requested_pause_is_kept_but_never_beyond_its_cap(seconds: float, fraction: float) -> None:
    pause = pace(fraction).requested(seconds)
    assert min(seconds, LONGEST_REQUESTED) <= pause <= LONGEST_REQUESTED * 1.1


def test_a_zero_still_means_a_pause() -> None:
    assert pace(0).requested(0) == 0.5


def test_a_deadline_counts_down_and_never_below_zero() -> None:
    now = [0.0]
    deadline = Deadline.after(10, Pace(lambda: now[0]))
    assert (deadline.left(), deadline.allows(9), deadline.allows(10)) == (10, True, False)
    now[0] = 99
    assert (deadline.left(), deadline.allows(0)) == (0, False)


def test_no_end_is_never_reached() -> None:
    assert Deadline.after(float("inf"), pace(0)).allows(1e300)


def test_the_real_pace_is_random_enough() -> None:
    fractions = {Pace().fraction() for _ in range(50)}
    assert len(fractions) == 50
    assert all(0 <= each < 1 for each in fractions)


@pytest.mark.parametrize("attempt", [0, 3, 30])
def test_two_devices_do_not_wait_equally_long(attempt: int) -> None:
    assert len({Pace().backoff(attempt) for _ in range(20)}) > 15
