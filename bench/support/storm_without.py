"""The admission with one part left out, to see what that part is for."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from keyborn.adapters.memory.line import MemoryLine
from keyborn.device import pace
from keyborn.domain.quota import Pacing

PARTS = ("place", "promise", "hour")
"""A memory of places; Retry-After that tells the turn (one second instead); a client that waits an hour."""


class Forgetful(MemoryLine):
    """Places are given away and forgotten: who returns stands at the end."""

    async def find(self, who: str, now: float) -> float | None:
        """None, always."""
        del who, now
        return None


def _a_second(_pacing: Pacing, _seconds: float, fraction: float = 0.0) -> float:
    return 1.0 + fraction


@contextmanager
def part(name: str | None) -> Iterator[None]:
    """Leave ``name`` out while this lasts; None leaves everything in."""
    match name:
        case "place":
            with patch("keyborn.testing.storm.cloud.MemoryLine", Forgetful):
                yield
        case "promise":
            with (
                patch("keyborn.service.quota.pause_before", _a_second),
                patch("keyborn.service.quota.pause_late", _a_second),
                patch("keyborn.service.quota.pause_unplaced", _a_second),
            ):
                yield
        case "hour":
            with patch.object(pace, "LONGEST_REQUESTED", 60.0):
                yield
        case _:
            yield
