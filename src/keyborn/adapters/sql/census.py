"""The census, from counters that triggers keep: nobody counts what is many.

What enrolments pass through has no counter, for it would cost each of them: claimed things and inactive
certificates are counted where they are few.
"""

from keyborn.adapters.sql.reads import Ask
from keyborn.domain.census import Census
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.thing import ThingStatus

_THINGS = (
    "SELECT status, things FROM thing_counts UNION ALL "
    "SELECT 'claimed', count(*) FROM things WHERE status = 'claimed' AND status <> 'active'"
)
_CERTIFICATES = "SELECT status, sum(certificates) FROM certificate_counts GROUP BY status"
INACTIVE = (
    "SELECT (SELECT count(*) FROM intents i"
    " JOIN certificates c ON c.intent = i.id WHERE c.status = 'inactive')"
    " + (SELECT count(*) FROM things t JOIN attachments a ON a.thing = t.name"
    " JOIN certificates c ON c.id = a.certificate"
    " WHERE t.status = 'suspended' AND t.status <> 'active' AND c.status = 'inactive')"
)
"""Those of open intents, and those of suspended things; there are no others."""
_DAYS_LEFT = (
    "SELECT day - ?, certificates FROM certificate_counts "
    "WHERE status = 'active' AND day >= ? AND certificates > 0 ORDER BY day"
)
_DAY = 86_400_000
"""Milliseconds: what the triggers divide by."""


def take(ask: Ask, at: int) -> Census:
    """See ``Censuses.census``; every answer of ``ask`` is of the same moment. ``at`` in milliseconds."""
    today = at // _DAY
    ((inactive,),) = ask(INACTIVE)
    return Census(
        {ThingStatus(status): count for status, count in ask(_THINGS)},
        {CertificateStatus(status): count for status, count in ask(_CERTIFICATES)}
        | {CertificateStatus.INACTIVE: inactive},
        {int(days): count for days, count in ask(_DAYS_LEFT, today, today)},
    )
