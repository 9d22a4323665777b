"""Time limits and waiting: monotonic time, full jitter, and what a service may ask for."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_DELAY = 0.5
LONGEST_DELAY = 20.0
LONGEST_REQUESTED = 3600.0
"""Seconds; a longer Retry-After is cut to this (design PROTOCOL "Refusing well": cap absurd values).

An hour is not absurd: behind a quota of ten enrolments a second
36,000 devices wait so long (docs/adr/0015)."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Monotonic seconds, sleeping, and a random fraction in [0, 1)."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    fraction: Callable[[], float] = random.SystemRandom().random

    def pause(self, attempt: int, retry_after: float | None) -> float:
        """Seconds before the try after ``attempt``, whether the service named some or not."""
        return self.backoff(attempt) if retry_after is None else self.requested(retry_after)

    def backoff(self, attempt: int) -> float:
        """Seconds before the try after ``attempt`` (0 is the first): full jitter, doubling, capped."""
        return self.fraction() * min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempt, 16))

    def requested(self, retry_after: float) -> float:
        """Seconds to wait when the service named some: at least those, capped, and up to a tenth more."""
        return min(max(retry_after, FIRST_DELAY), LONGEST_REQUESTED) * (1 + 0.1 * self.fraction())


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock after which nothing more is tried."""

    at: float
    pace: Pace

    @staticmethod
    def after(seconds: float, pace: Pace) -> "Deadline":
        """The deadline ``seconds`` from now."""
        return Deadline(pace.monotonic() + seconds, pace)

    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.pace.monotonic())

    def allows(self, seconds: float) -> bool:
        """Whether ``seconds`` may still pass."""
        return seconds < self.left()
