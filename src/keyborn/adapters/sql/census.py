"""The registry counted, in one snapshot."""

from datetime import datetime, timedelta

from keyborn.adapters.sql import rows
from keyborn.adapters.sql.reads import Ask
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.thing import ThingStatus
from keyborn.ports import DAYS_LEFT, Census

_THINGS = "SELECT status, COUNT(*) FROM things GROUP BY status"
_CERTIFICATES = "SELECT status, COUNT(*) FROM certificates GROUP BY status"
_ENDING = "SELECT COUNT(*) FROM certificates WHERE status = 'active' AND not_after < ?"


def census(ask: Ask, at: datetime) -> Census:
    """See ``Censuses.census``."""
    return Census(
        dict.fromkeys(ThingStatus, 0) | {ThingStatus(status): count for status, count in ask(_THINGS)},
        dict.fromkeys(CertificateStatus, 0)
        | {CertificateStatus(status): count for status, count in ask(_CERTIFICATES)},
        {days: ask(_ENDING, rows.to_ms(at + timedelta(days=days)))[0][0] for days in DAYS_LEFT},
    )
