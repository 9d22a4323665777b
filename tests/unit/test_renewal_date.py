"""When to renew: with a third of the lifetime left, spread by name; by age where certificates do not end."""

import statistics
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.names import ThingName
from keyborn.domain.profile import MAX_DEVICE_LIFETIME
from keyborn.domain.renewal_date import FOR_EVER, SPREAD, YEAR, place_of, renew_at

BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
AWS_END = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
NAMES = st.text("abcXYZ019:_-", min_size=1, max_size=64).map(ThingName)
LIVES = st.timedeltas(timedelta(minutes=1), MAX_DEVICE_LIFETIME)


@given(NAMES, LIVES)
def test_a_device_renews_between_a_third_and_23_percent_before_the_end(
    name: ThingName, life: timedelta
) -> None:
    left = BEGIN + life - renew_at(name, BEGIN, BEGIN + life)
    assert life * 0.2333 < left <= life / 3 + timedelta(microseconds=2)


@given(NAMES)
def test_where_certificates_do_not_end_a_year_is_their_lifetime(name: ThingName) -> None:
    age = renew_at(name, BEGIN, AWS_END) - BEGIN
    assert YEAR * 2 / 3 <= age < YEAR * 2 / 3 + YEAR / SPREAD


@given(NAMES, LIVES)
def test_the_moment_does_not_move_when_asked_again(name: ThingName, life: timedelta) -> None:
    assert renew_at(name, BEGIN, BEGIN + life) == renew_at(name, BEGIN, BEGIN + life)


@given(NAMES, LIVES, st.timedeltas(-YEAR, YEAR))
def test_a_certificate_that_begins_later_is_renewed_as_much_later(
    name: ThingName, life: timedelta, shift: timedelta
) -> None:
    moved = renew_at(name, BEGIN + shift, BEGIN + shift + life)
    assert abs(moved - renew_at(name, BEGIN, BEGIN + life) - shift) <= timedelta(microseconds=1)


def test_a_fleet_of_one_night_is_spread_evenly() -> None:
    places = sorted(place_of(ThingName(f"sensor-{number}")) for number in range(10_000))
    assert 0 <= places[0] < 0.001
    assert 0.999 < places[-1] < 1
    assert statistics.mean(places) == pytest.approx(0.5, abs=0.01)
    busiest = max(sum(part <= place * 90 < part + 1 for place in places) for part in range(90))
    assert busiest < 2 * 10_000 / 90, "of ninety parts of the time, none gets twice its share"


def test_names_that_look_alike_do_not_renew_together() -> None:
    assert abs(place_of(ThingName("lamp-1")) - place_of(ThingName("lamp-2"))) > 0.001


@pytest.mark.parametrize(
    ("life", "earliest"),
    [(90 * DAY, 60 * DAY), (3 * DAY, 2 * DAY), (FOR_EVER, FOR_EVER * 2 / 3), (FOR_EVER + DAY, YEAR * 2 / 3)],
)
def test_the_earliest_moments_are_these(life: timedelta, earliest: timedelta) -> None:
    moments = [renew_at(ThingName(f"n{number}"), BEGIN, BEGIN + life) for number in range(300)]
    assert timedelta(0) <= min(moments) - BEGIN - earliest < min(life, YEAR * 10) / SPREAD / 20
