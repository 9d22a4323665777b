"""Arithmetic of the line: rates, floors, and how long to send somebody away."""

import pytest
from hypothesis import given, strategies as st

from keyborn.device.pace import LONGEST_REQUESTED, Pace
from keyborn.domain.quota import (
    IOT_QUOTAS,
    Pacing,
    floor_of,
    hold_for,
    pacing_under,
    pause_before,
    pause_late,
    pause_unplaced,
    place_name,
)

PACING = Pacing(rate=10.0)
FRACTIONS = st.floats(0, 1, exclude_max=True)
SPANS = st.floats(0, 1e7)


def test_the_least_quota_binds_and_a_share_of_it_is_taken() -> None:
    assert pacing_under(IOT_QUOTAS).rate == pytest.approx(9.8)
    assert pacing_under({"UpdateCertificate": 50, "AttachPolicy": 15}, share=1).rate == 15


@pytest.mark.parametrize("quotas", [{}, {"A": 0.0}, {"A": -1.0}, {"A": float("inf")}, {"A": float("nan")}])
def test_quotas_that_admit_nothing_or_everything_are_refused(quotas: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above nothing"):
        pacing_under(quotas)


def test_a_slot_lasts_as_long_as_the_rate_says() -> None:
    assert Pacing(rate=4).slot == 0.25


def test_places_lie_a_little_further_apart_than_slots() -> None:
    assert Pacing(rate=4, slack=1.1).place == pytest.approx(0.275)
    assert 1 < PACING.slack < 1.02


def test_a_place_is_of_one_token_and_one_name() -> None:
    asked = [
        ("a", "b"),
        ("a", "c"),
        ("b", "b"),
        ("a\n'b'", ""),
        ("a", None),
        ("a", "None"),
        ("a", "x" * 9999),
    ]
    names = [place_name(token, thing) for token, thing in asked]
    assert len(set(names)) == len(asked)
    assert {len(name) for name in names} == {64}
    assert place_name("a", "b") == names[0]


@given(st.text(), st.text())
def test_whatever_text_is_asked_for_has_a_place(token: str, thing: str) -> None:
    assert place_name(token, thing).isalnum()


def test_slots_are_kept_for_the_burst() -> None:
    assert floor_of(Pacing(rate=10, burst=0.5), 100.0) == 99.5


@given(SPANS)
def test_nobody_in_line_is_sent_away_past_its_turn_even_with_the_clients_own_jitter(remaining: float) -> None:
    latest = pause_before(PACING, remaining) * PACING.margin
    assert latest <= max(1.0, remaining) * 1.1 if remaining <= 12 else latest <= remaining + 1e-6


@given(SPANS)
def test_nobody_is_sent_away_for_longer_than_the_longest_pause(remaining: float) -> None:
    assert 1 <= pause_before(PACING, remaining) <= PACING.longest
    assert 1 <= pause_unplaced(PACING, remaining, 0.999) <= PACING.longest
    assert 1 <= pause_late(PACING, remaining, 0.999) <= 21


@given(st.floats(13, 1e5))
def test_each_return_before_the_turn_takes_most_of_what_remains(remaining: float) -> None:
    paused = pause_before(PACING, remaining)
    assert paused >= min(PACING.longest, remaining) / 1.1 - 1e-6


def test_the_client_keeps_the_longest_pause_that_the_service_asks_for() -> None:
    assert PACING.longest <= LONGEST_REQUESTED
    slowest = Pace(lambda: 0.0, lambda _seconds: None, lambda: 1.0)
    assert slowest.pause(0, PACING.longest) <= PACING.longest * PACING.margin
    assert PACING.longest * (PACING.margin - 1) <= PACING.grace


@given(st.floats(8, 1e7), FRACTIONS)
def test_who_has_no_place_is_back_before_the_line_runs_dry(length: float, fraction: float) -> None:
    assert pause_unplaced(PACING, length, fraction) * PACING.margin <= max(length, 3.3)


@given(st.floats(-1e9, 0), FRACTIONS)
def test_without_a_line_a_newcomer_is_back_within_seconds(length: float, fraction: float) -> None:
    assert 1 <= pause_unplaced(PACING, length, fraction) <= 3


def test_the_later_the_whole_line_is_the_wider_its_members_spread() -> None:
    pauses = [pause_late(PACING, lateness, 0.5) for lateness in (0, 10, 30, 1000)]
    assert pauses == sorted(pauses)
    assert len(set(pauses)) > 2


def test_the_later_somebody_is_the_longer_it_is_held_within_bounds() -> None:
    held = [hold_for(PACING, lateness) for lateness in (-5, 0, 5, 20, 1e6)]
    assert held == pytest.approx([2, 2, 3, 6, 6])


def test_two_who_are_late_do_not_return_together() -> None:
    assert len({pause_late(PACING, 5, fraction / 10) for fraction in range(10)}) == 10
    assert len({pause_unplaced(PACING, 500, fraction / 10) for fraction in range(10)}) == 10
