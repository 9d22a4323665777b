"""The rate of one connection, with time as a number: bursts pass, and the rest is paid for with waiting."""

import pytest
from hypothesis import given, strategies as st

from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.meter import Meter

LIMITS = Limits(packets_per_second=10, packets_burst=20, bytes_per_second=1000, bytes_burst=2000)


def test_a_burst_costs_nothing() -> None:
    assert Meter(LIMITS, 0).spend(20, 2000, 0) == 0


def test_packets_beyond_the_burst_are_paid_for_with_time() -> None:
    assert Meter(LIMITS, 0).spend(25, 0, 0) == pytest.approx(0.5)


def test_bytes_beyond_the_burst_are_paid_for_with_time() -> None:
    assert Meter(LIMITS, 0).spend(1, 5000, 0) == pytest.approx(3)


def test_the_longer_of_the_two_debts_counts() -> None:
    assert Meter(LIMITS, 0).spend(30, 5000, 0) == pytest.approx(3)
    assert Meter(LIMITS, 0).spend(80, 3000, 0) == pytest.approx(6)


def test_a_debt_that_has_been_waited_for_is_paid() -> None:
    meter = Meter(LIMITS, 100)
    debt = meter.spend(35, 0, 100)
    assert meter.spend(0, 0, 100 + debt) == pytest.approx(0)
    assert meter.spend(1, 0, 100 + debt) == pytest.approx(0.1)


def test_rest_fills_the_bucket_to_the_burst_and_no_further() -> None:
    meter = Meter(LIMITS, 0)
    assert meter.spend(0, 0, 1_000_000) == 0
    assert meter.spend(21, 0, 1_000_000) == pytest.approx(0.1)


def test_who_keeps_to_the_rate_never_waits() -> None:
    meter = Meter(LIMITS, 0)
    assert [meter.spend(1, 100, second / 10) for second in range(500)] == [0] * 500


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9000), st.floats(0, 3)), max_size=60))
def test_who_waits_as_told_never_goes_faster_than_the_limits(
    loads: list[tuple[int, int, float]],
) -> None:
    meter, now, packets, size = Meter(LIMITS, 0), 0.0, 0, 0
    for count, octets, pause in loads:
        now += pause
        packets, size = packets + count, size + octets
        now += meter.spend(count, octets, now)
    assert packets <= LIMITS.packets_burst + LIMITS.packets_per_second * now + 1e-6
    assert size <= LIMITS.bytes_burst + LIMITS.bytes_per_second * now + 1e-3


def test_the_defaults_are_wider_than_awss_quotas() -> None:
    limits = Limits()
    assert limits.packets_per_second > 100
    assert limits.bytes_per_second > 512 * 1024
    assert limits.packets_burst >= limits.packets_per_second
    assert limits.bytes_burst >= limits.packet
