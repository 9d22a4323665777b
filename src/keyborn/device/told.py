"""What the service said of the time, and how it is counted on from there."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from keyborn.domain.profile import BACKDATE


@dataclass(frozen=True, slots=True)
class Told:
    """What time the service said that it was, and what two clocks of this device showed then."""

    there: datetime
    wall: datetime
    at: float
    """On the monotonic clock."""

    def now(self, wall: datetime, mono: float) -> datetime:
        """What time it is: counted on from there, or by a clock that was right then, if that is later."""
        try:
            counted = self.there + timedelta(seconds=mono - self.at)
        except OverflowError:  # it said that it was the last second of the calendar
            counted = self.there
        was_right = abs(self.wall - self.there) <= BACKDATE
        return max(counted, wall) if was_right else counted
