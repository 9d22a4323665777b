"""Certificate profiles: the contents a certificate authority gives, whatever the request wished for.

Sources: RFC 5280 section 4.2 (extensions), CA/B Forum BR 7.1.2 where it is stricter; design PROTOCOL.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

BACKDATE = timedelta(minutes=5)
"""How far notBefore lies in the past, for devices whose clocks run behind."""

DEFAULT_DEVICE_LIFETIME = timedelta(days=90)
MAX_DEVICE_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Validity:
    """First and last valid moment of a certificate, whole seconds, UTC, both inclusive."""

    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """What a device certificate holds besides name and key: digitalSignature, clientAuth, CA:FALSE."""

    lifetime: timedelta = DEFAULT_DEVICE_LIFETIME

    def validity(self, now: datetime) -> Validity:
        """The dates of a certificate issued at ``now``."""
        second = now.replace(microsecond=0)
        return Validity(second - BACKDATE, second + self.lifetime)
