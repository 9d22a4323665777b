"""Clocks and entropy that do what the test says."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from keyborn.ports import Clock

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
"""When virtual clocks start unless told otherwise."""


class VirtualClock:
    """A clock that stands still until somebody moves it."""

    def __init__(self, start: datetime = DAWN) -> None:
        self._now = start

    def now(self) -> datetime:
        """The time, aware, UTC, whole milliseconds."""
        return self._now.replace(microsecond=self._now.microsecond // 1000 * 1000)

    def advance(self, span: timedelta) -> datetime:
        """Move forwards by ``span``; returns the new time. Raises ValueError for a negative span."""
        if span < timedelta(0):
            raise ValueError("a clock that runs backwards is a SkewedClock")
        self._now += span
        return self.now()


@dataclass(slots=True)
class SkewedClock:
    """Another machine's clock: as ``true`` as can be, but off by ``skew`` (negative is behind)."""

    true: Clock
    skew: timedelta

    def now(self) -> datetime:
        """The time as this machine believes it to be."""
        return self.true.now() + self.skew


class SeededEntropy:
    """Bytes that follow from a seed. For tests alone: anybody who knows the seed knows them all."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - foreseeable on purpose

    def token_bytes(self, count: int) -> bytes:
        """``count`` bytes, the same for the same seed and the same calls before."""
        return self._random.randbytes(count)
