"""One way to write a moment, everywhere."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from keyborn.domain.moment import shown

JAPAN = timezone(timedelta(hours=9))


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 23, 1, 26, 13, tzinfo=UTC), "2026-11-23T01:26:13Z"),
        (datetime(2026, 11, 23, 10, 26, 13, 999_999, tzinfo=JAPAN), "2026-11-23T01:26:13Z"),
    ],
)
def test_a_moment_is_utc_and_whole_seconds(moment: datetime, text: str) -> None:
    assert shown(moment) == text
    assert datetime.fromisoformat(shown(moment)) == moment.replace(microsecond=0)
