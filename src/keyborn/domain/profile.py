"""Certificate profiles: the contents a certificate authority gives, whatever the request wished for.

Sources: RFC 5280 section 4.2 (extensions) and appendix A (bounds); CA/B Forum BR 7.1.2 where it is stricter
(extended key usages in intermediates, critical key usage); design PROTOCOL "first trust": server and device
certificates come from different intermediates, so that no device can pose as the service.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from keyborn.domain.errors import InvalidSetting

BACKDATE = timedelta(minutes=5)
"""How far notBefore lies in the past, for devices whose clocks run behind."""

DEFAULT_DEVICE_LIFETIME = timedelta(days=90)
MAX_DEVICE_LIFETIME = timedelta(days=3650)
"""The longest that may be configured; what is left of the intermediate's ten years bounds it further."""

SERVICE_LIFETIME = timedelta(days=30)

_AUTHORITY_BACKDATE = timedelta(days=1)
_INTERMEDIATE_LIFETIME = timedelta(days=3652)
_ROOT_LIFETIME = timedelta(days=7305)
_YEAR_DAYS = 365


class KeyUse(StrEnum):
    """The bits of keyUsage (RFC 5280 4.2.1.3) that any profile here gives."""

    SIGN = "digitalSignature"
    SIGN_CERTIFICATES = "keyCertSign"
    SIGN_CRLS = "cRLSign"


class Purpose(StrEnum):
    """What extended key usage (RFC 5280 4.2.1.12) says a certificate is for."""

    CLIENT = "clientAuth"
    SERVER = "serverAuth"


@dataclass(frozen=True, slots=True)
class Validity:
    """First and last valid moment of a certificate, whole seconds, UTC, both inclusive."""

    not_before: datetime
    not_after: datetime

    def within(self, outer: "Validity") -> bool:
        """Whether ``outer`` is valid for all of this time, as an issuer must be."""
        return outer.not_before <= self.not_before and self.not_after <= outer.not_after

    def holds(self, now: datetime) -> bool:
        """Whether ``now`` is inside (RFC 5280 4.1.2.5: both ends count)."""
        return self.not_before <= now <= self.not_after


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """What a certificate holds besides names and key. The default is a device's: signs, clientAuth, CA:FALSE.

    Raises InvalidSetting where a lifetime is not positive or a leaf's is over MAX_DEVICE_LIFETIME.
    """

    lifetime: timedelta = DEFAULT_DEVICE_LIFETIME
    backdate: timedelta = BACKDATE
    uses: frozenset[KeyUse] = frozenset({KeyUse.SIGN})
    purposes: tuple[Purpose, ...] = (Purpose.CLIENT,)
    """Extended key usages; empty leaves the extension out."""
    path_length: int | None = None
    """How many intermediates may follow; None for a leaf (CA:FALSE)."""

    def __post_init__(self) -> None:
        """Refuse lifetimes that no certificate should have."""
        if self.lifetime < timedelta(seconds=1):
            raise InvalidSetting(setting="certificate lifetime", detail="it is under a second")
        if not self.is_authority and self.lifetime > MAX_DEVICE_LIFETIME:
            years = MAX_DEVICE_LIFETIME.days // _YEAR_DAYS
            raise InvalidSetting(setting="certificate lifetime", detail=f"it is over {years} years")

    @property
    def is_authority(self) -> bool:
        """Whether its holder may sign certificates (basicConstraints CA:TRUE)."""
        return self.path_length is not None

    def validity(self, now: datetime) -> Validity:
        """The dates of a certificate issued at ``now``."""
        second = now.replace(microsecond=0)
        return Validity(second - self.backdate, second + self.lifetime)


_SIGNS_OTHERS = frozenset({KeyUse.SIGN_CERTIFICATES, KeyUse.SIGN_CRLS})

ROOT = CertificateProfile(_ROOT_LIFETIME, _AUTHORITY_BACKDATE, _SIGNS_OTHERS, purposes=(), path_length=1)
"""Twenty years: the anchor whose fingerprint devices pin."""

DEVICE_INTERMEDIATE = CertificateProfile(
    _INTERMEDIATE_LIFETIME, _AUTHORITY_BACKDATE, _SIGNS_OTHERS, (Purpose.CLIENT,), path_length=0
)
"""Ten years; whatever it signs can be a client and nothing else."""

SERVER_INTERMEDIATE = CertificateProfile(
    _INTERMEDIATE_LIFETIME, _AUTHORITY_BACKDATE, _SIGNS_OTHERS, (Purpose.SERVER,), path_length=0
)
"""Ten years; whatever it signs can be a server and nothing else."""

DEVICE = CertificateProfile()
"""A device's leaf; the dates of one certificate come from its intent."""

SERVICE = CertificateProfile(lifetime=SERVICE_LIFETIME, purposes=(Purpose.SERVER,))
"""The service's own leaf, renewed while it runs."""
