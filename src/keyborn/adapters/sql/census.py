"""The registry counted, in one snapshot and one walk through each table."""

from datetime import datetime, timedelta

from keyborn.adapters.sql import rows
from keyborn.adapters.sql.reads import Ask
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.thing import ThingStatus
from keyborn.ports import DAYS_LEFT, Census

_THINGS = "SELECT " + ", ".join(["TOTAL(status = ?)"] * len(ThingStatus)) + " FROM things"  # noqa: S608 - no value in it
_STANDING = ["TOTAL(status = ?)"] * len(CertificateStatus)
_ENDING = ["TOTAL(status = 'active' AND not_after < ?)"] * len(DAYS_LEFT)
_CERTIFICATES = "SELECT " + ", ".join(_STANDING + _ENDING) + " FROM certificates"  # noqa: S608 - as above


def census(ask: Ask, at: datetime) -> Census:
    """See ``Censuses.census``."""
    ends = [rows.to_ms(at + timedelta(days=days)) for days in DAYS_LEFT]
    things = map(int, ask(_THINGS, *ThingStatus)[0])
    certificates = [int(each) for each in ask(_CERTIFICATES, *CertificateStatus, *ends)[0]]
    return Census(
        dict(zip(ThingStatus, things, strict=True)),
        dict(zip(CertificateStatus, certificates, strict=False)),
        dict(zip(DAYS_LEFT, certificates[len(CertificateStatus) :], strict=True)),
    )
