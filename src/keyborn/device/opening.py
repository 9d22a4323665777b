"""What a session is opened with, beside who the device is: its time limits, its last will."""

import time
from dataclasses import dataclass

_SHORTEST = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds after ``begun`` (on the monotonic clock) in which hands are shaken, and the broker answers."""

    begun: float
    shake: float
    answer: float

    def left(self, seconds: float) -> float:
        """How many of ``seconds`` are left; always a few to try with."""
        return max(self.begun + seconds - time.monotonic(), _SHORTEST)


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for the device when its session ends without a goodbye; always with QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False
