"""Groups as values: the periods of a rate, and what a new text changes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, strategies as st

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.group import GroupDocument, Rate, Terms, account_of, revised_group, window_of
from keyborn.domain.names import GroupName, parse_group_name
from support.registry_cases import HOUR, START

LINE = GroupName("line-7")
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis adds UTC
PERIODS = st.sampled_from([timedelta(seconds=1), timedelta(minutes=1), HOUR, timedelta(days=1)])
GROUP_NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).map(parse_group_name)

# ── periods ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_period_has_an_account_a_limit_and_an_end() -> None:
    window = window_of(LINE, Rate(100, HOUR), START + timedelta(minutes=59))
    number = int(START.timestamp()) // 3600
    assert window.account == f"g:line-7:3600:{number}"
    assert (window.limit, window.ends_at) == (100, START + HOUR)


def test_the_last_moment_of_a_period_and_the_first_of_the_next_are_two() -> None:
    rate = Rate(1, HOUR)
    last = window_of(LINE, rate, START - timedelta(milliseconds=1))
    first = window_of(LINE, rate, START)
    assert last.ends_at == START
    assert last.account != first.account


@given(MOMENTS, PERIODS)
def test_every_moment_lies_in_the_period_that_is_counted_for_it(now: datetime, period: timedelta) -> None:
    window = window_of(LINE, Rate(1, period), now)
    assert window.ends_at - period <= now < window.ends_at
    assert window_of(LINE, Rate(1, period), window.ends_at - period).account == window.account
    assert window_of(LINE, Rate(1, period), window.ends_at).account != window.account


@given(MOMENTS, GROUP_NAMES, GROUP_NAMES, PERIODS, PERIODS)
def test_no_two_groups_and_no_two_periods_share_an_account(
    now: datetime, one: GroupName, other: GroupName, first: timedelta, second: timedelta
) -> None:
    a, b = (window_of(name, Rate(1, span), now).account for name, span in ((one, first), (other, second)))
    assert (a == b) == ((one, first) == (other, second))
    assert not {a, b} & {account_of(one), account_of(other)}
    assert (account_of(one) == account_of(other)) == (one == other)


@given(MOMENTS, GROUP_NAMES, GROUP_NAMES)
def test_the_accounts_of_a_group_s_periods_lie_together(
    now: datetime, one: GroupName, other: GroupName
) -> None:
    """Registries delete old ones as a range of ids."""
    account = window_of(one, Rate(1, HOUR), now).account
    assert (f"g:{other}:" < account < f"g:{other};") == (one == other)


# ── documents ─────────────────────────────────────────────────────────────────────────────────────────

DOCUMENT = GroupDocument(LINE, "text", START, 7, (PolicyName("fleet"),), b"secret")


def test_the_first_text_is_version_1() -> None:
    assert revised_group(None, DOCUMENT) == replace(DOCUMENT, version=1)


def test_the_same_text_is_what_is_known() -> None:
    again = replace(DOCUMENT, version=1, updated_at=START + HOUR, webhook_secret=b"other")
    assert revised_group(DOCUMENT, again) is DOCUMENT


def test_another_text_is_the_next_version_with_the_first_secret() -> None:
    put = GroupDocument(LINE, "other", START + HOUR, 1, (), b"other")
    assert revised_group(DOCUMENT, put) == replace(put, version=8, webhook_secret=b"secret")
    without = replace(DOCUMENT, webhook_secret=None)
    assert revised_group(without, put).webhook_secret == b"other"


def test_a_secret_is_not_shown() -> None:
    assert "secret" not in repr(DOCUMENT).replace("webhook_secret", "")


def test_a_group_closes_at_its_moment() -> None:
    terms = Terms(LINE, account_of(LINE), closes=START)
    assert not terms.closed(START - timedelta(milliseconds=1))
    assert terms.closed(START)
    assert not replace(terms, closes=None).closed(START + 1000 * HOUR)
