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
_STAGED = (
    "SELECT count(*) FROM intents i CROSS JOIN certificates c ON c.intent = i.id WHERE c.status = 'inactive'"
)
_SUSPENDED = (
    "SELECT count(*) FROM things t CROSS JOIN attachments a ON a.thing = t.name"
    " CROSS JOIN certificates c ON c.id = a.certificate"
    " WHERE t.status = 'suspended' AND t.status <> 'active' AND c.status = 'inactive'"
)
"""Inactive certificates are those of open intents, and those of suspended things. CROSS JOIN begins with
these: SQLite would begin with the certificates, of whose number it knows nothing."""
_DAYS_LEFT = (
    "SELECT day - ?, certificates FROM certificate_counts "
    "WHERE status = 'active' AND day >= ? AND certificates > 0 ORDER BY day"
)
_DAY = 86_400_000
"""Milliseconds: what the triggers divide by."""


def take(ask: Ask, at: int) -> Census:
    """See ``Censuses.census``; every answer of ``ask`` is of the same moment. ``at`` in milliseconds."""
    today = at // _DAY
    ((staged,),), ((suspended,),) = ask(_STAGED), ask(_SUSPENDED)
    return Census(
        {ThingStatus(status): count for status, count in ask(_THINGS)},
        {CertificateStatus(status): count for status, count in ask(_CERTIFICATES)}
        | {CertificateStatus.INACTIVE: staged + suspended},
        {int(days): count for days, count in ask(_DAYS_LEFT, today, today)},
    )
