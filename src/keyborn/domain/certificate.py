"""Certificates as the registry knows them: by id, never by common name."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keyborn.domain.names import CertificateId, KeyHash, ThingName


class CertificateStatus(StrEnum):
    """AWS IoT's three states; expired is computed from the dates."""

    INACTIVE = "inactive"
    ACTIVE = "active"
    REVOKED = "revoked"


class Slot(StrEnum):
    """A thing has at most one certificate in each slot that is not revoked."""

    CURRENT = "current"
    SUCCESSOR = "successor"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that a certificate authority signed, and where it stands."""

    id: CertificateId
    thing: ThingName
    key_hash: KeyHash
    der: bytes
    not_before: datetime
    not_after: datetime
    status: CertificateStatus = CertificateStatus.INACTIVE
    slot: Slot = Slot.CURRENT
    connected_at: datetime | None = None
    """When the device first connected with it; until then its answer may be repeated."""
    renews: CertificateId | None = None
    """The certificate whose key asked for this one; None: somebody with an enrolment token did.

    In the successor slot it makes the difference: a renewal waits there until it is confirmed, and a
    replacement until it has connected.
    """

    def expired(self, now: datetime) -> bool:
        """Whether ``now`` is past the last moment of validity (RFC 5280 4.1.2.5: inclusive)."""
        return now > self.not_after

    def live(self, now: datetime) -> bool:
        """Whether a device may use it now; one of the future was issued by a clock that ran ahead."""
        return self.status is CertificateStatus.ACTIVE and self.not_before <= now <= self.not_after
