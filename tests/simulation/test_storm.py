"""Everybody powers on at once: the admission that runs on AWS against the client that runs on devices.

The figures promised: all enrolled, nobody starved, at most 1.05 times devices / binding quota, at most 1 % of
the calls of AWS throttled. ``bench/storm.py`` runs a million.
"""

import pytest

from keyborn.domain.quota import Pacing
from keyborn.testing.storm import Account, Report, Storm, simulate
from keyborn.testing.storm.cloud import Throttle, finish
from support.figures import Figure
from support.walks import FULL

SIZES = (1000, 20_000, 100_000, 1_000_000) if FULL else (1000, 5000)
SLOW = {20_000: [pytest.mark.slow], 100_000: [pytest.mark.slow, pytest.mark.timeout(600)]}
SLOW[1_000_000] = [pytest.mark.slow, pytest.mark.timeout(3600)]


def require_promises(report: Report) -> None:
    assert report.enrolled + report.lost == report.expected
    assert report.slowdown <= 1.05
    assert report.rejected_share <= 0.01


@pytest.mark.parametrize("devices", [pytest.param(size, marks=SLOW.get(size, [])) for size in SIZES])
def test_a_fleet_that_powers_on_at_once_is_enrolled_at_the_rate_of_the_quota(
    devices: int, figure: Figure
) -> None:
    report = simulate(Storm(devices))
    figure(report.text())
    require_promises(report)
    assert report.enrolled == devices
    assert max(report.waits) <= 1.05 * report.storm.ideal, "nobody waits longer than the whole line is"
    late = sorted(report.lateness)
    assert late[int(len(late) * 0.99)] <= 30, "turns are kept"
    assert late[-1] <= 120, "even where the platform turned somebody away at its turn, without a word"


@pytest.mark.parametrize("seed", range(2, 30 if FULL else 7))
def test_it_holds_whatever_the_dice_say(seed: int) -> None:
    require_promises(simulate(Storm(1000, seed=seed)))


@pytest.mark.parametrize("within", [0.0, 0.1, 30.0])
def test_it_holds_whether_they_come_in_one_moment_or_in_half_a_minute(within: float) -> None:
    require_promises(simulate(Storm(1000, within=within)))


def test_devices_that_go_away_for_good_cost_nobody_anything() -> None:
    report = simulate(Storm(5000, lost=0.2))
    require_promises(report)
    assert report.lost > 500
    assert report.slowdown <= 0.9


def test_newcomers_do_not_pass_those_who_wait() -> None:
    report = simulate(Storm(10_000, trickle=3.0))
    require_promises(report)
    line = report.storm.ideal
    assert max(report.waits) <= 1.2 * line, "a third more devices came; the line did not get a third longer"


@pytest.mark.parametrize("binding", [2.0, 50.0])
def test_it_holds_under_other_quotas(binding: float) -> None:
    account = Account(quotas={"UpdateCertificate": binding, "CreateCertificateFromCsr": 15.0 + binding})
    account = Account(quotas=account.quotas, steps=((0.1, tuple(account.quotas)), (0.1, ())))
    require_promises(simulate(Storm(int(300 * binding), account=account)))


def test_a_small_account_turns_many_away_without_a_word_and_it_still_holds() -> None:
    account = Account(concurrency=20, api_rate=200, api_burst=200)
    report = simulate(Storm(5000, account=account))
    require_promises(report)
    assert report.bare > 1000


def test_a_line_that_takes_a_tenth_of_the_writes_slows_the_storm_and_loses_nobody() -> None:
    report = simulate(Storm(5000, account=Account(item_writes=100)))
    assert report.enrolled == 5000
    assert report.slowdown <= 1.2
    assert report.rejected == 0, "it is the line that throttles, not AWS IoT"


def test_admission_beyond_the_quota_would_be_seen() -> None:
    report = simulate(Storm(1000, pacing=Pacing(rate=20.0)))
    assert report.rejected_share > 0.01


def test_admission_far_below_the_quota_would_be_seen() -> None:
    assert simulate(Storm(500, pacing=Pacing(rate=8.0))).slowdown > 1.2


def test_one_seed_is_one_run() -> None:
    first, second, other = (simulate(Storm(500, seed=seed)) for seed in (5, 5, 6))
    assert (first.seconds, first.requests, first.waits) == (second.seconds, second.requests, second.waits)
    assert first.waits != other.waits


def test_the_curves_end_where_the_counts_do() -> None:
    report = simulate(Storm(500))
    last = report.samples[-1]
    assert (last.enrolled, last.waiting, last.queued) == (500, 0, report.queued)
    assert [sample.at for sample in report.samples] == sorted(sample.at for sample in report.samples)
    assert report.requests == report.queued + report.bare + report.enrolled


def test_a_throttle_lets_through_its_burst_and_then_its_rate() -> None:
    throttle = Throttle(10, 5)
    passed = sum(throttle.passes(0.0) for _ in range(20))
    passed += sum(throttle.passes(number / 100) for number in range(1, 1001))
    assert 104 <= passed <= 105
    assert throttle.passed == passed
    assert throttle.passed + throttle.refused == 1020


def test_the_simulated_world_has_nothing_to_wait_for() -> None:
    class Never:
        def __await__(self) -> object:
            yield

    async def waits() -> None:
        await Never()  # type: ignore[misc]  # it is to be no proper awaitable

    work = waits()
    with pytest.raises(RuntimeError, match="nothing to wait for"):
        finish(work)
    work.close()
