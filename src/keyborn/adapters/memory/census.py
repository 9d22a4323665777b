"""The registry in memory, counted."""

from collections import Counter
from datetime import datetime, timedelta

from keyborn.adapters.memory.state import State
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.thing import ThingStatus
from keyborn.ports import DAYS_LEFT, Census


class CensusInMemory:
    """Implements ``keyborn.ports.Censuses`` over the tables of a registry."""

    _state: State

    async def census(self, at: datetime) -> Census:
        """See ``Censuses.census``."""
        things = Counter(each.status for each in self._state.things.values())
        kept = self._state.certificates.values()
        certificates = Counter(each.status for each in kept)
        ends = [each.not_after for each in kept if each.status is CertificateStatus.ACTIVE]
        return Census(
            {status: things[status] for status in ThingStatus},
            {status: certificates[status] for status in CertificateStatus},
            {days: sum(end < at + timedelta(days=days) for end in ends) for days in DAYS_LEFT},
        )
