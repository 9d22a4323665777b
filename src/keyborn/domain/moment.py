"""How a moment is written for people and programs alike: ``2026-11-23T01:26:13Z`` (RFC 3339)."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=256)
def shown(moment: datetime) -> str:
    """``moment``, which knows its offset, in UTC and cut to the second. Many certificates end in one."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
