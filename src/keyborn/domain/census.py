"""How many there are: what a fleet's gauges show."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.thing import ThingStatus


@dataclass(frozen=True, slots=True)
class Census:
    """Things and certificates, counted as of one moment. A status that nobody has may be left out."""

    things: Mapping[ThingStatus, int] = field(default_factory=dict)
    """Devices and services."""
    certificates: Mapping[CertificateStatus, int] = field(default_factory=dict)
    """By what is kept of them: an active one that has expired is active here."""
    days_left: Mapping[int, int] = field(default_factory=dict)
    """How many active certificates end in how many days, by the calendar (UTC): those of key 0 end today.

    What ended on an earlier day is not among them.
    """

    def within(self, days: int) -> int:
        """How many active certificates end within so many days, those that have ended included.

        By the calendar (UTC): what ended earlier today counts as ended (0) from tomorrow on.
        """
        ended = self.certificates.get(CertificateStatus.ACTIVE, 0) - sum(self.days_left.values())
        return ended + sum(count for left, count in self.days_left.items() if 0 < days >= left)
