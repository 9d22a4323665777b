"""The census, from counters that triggers keep: nobody counts rows."""

from keyborn.adapters.sql.reads import Ask
from keyborn.domain.census import Census
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.thing import ThingStatus

_THINGS = "SELECT status, things FROM thing_counts"
_CERTIFICATES = "SELECT status, sum(certificates) FROM certificate_counts GROUP BY status"
_DAYS_LEFT = (
    "SELECT day - ?, certificates FROM certificate_counts "
    "WHERE status = 'active' AND day >= ? AND certificates > 0 ORDER BY day"
)
STATEMENTS = (_THINGS, _CERTIFICATES, _DAYS_LEFT)
_DAY = 86_400_000
"""Milliseconds: what the triggers divide by."""


def take(ask: Ask, at: int) -> Census:
    """See ``Censuses.census``; every answer of ``ask`` is of the same moment. ``at`` in milliseconds."""
    today = at // _DAY
    return Census(
        {ThingStatus(status): count for status, count in ask(_THINGS)},
        {CertificateStatus(status): count for status, count in ask(_CERTIFICATES)},
        {int(days): count for days, count in ask(_DAYS_LEFT, today, today)},
    )
