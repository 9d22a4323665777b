"""Sign, keep, activate: the steps that enrolment and renewal share, once a claim has been decided.

Each is one durable effect; of several attempts at one intent the first certificate kept is for all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate, Slot
from keyborn.domain.csr import CertificateRequest
from keyborn.domain.enrollment import Issue
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.issuance import approve
from keyborn.domain.issued import read_issued
from keyborn.domain.names import CertificateId, ThingName, key_hash
from keyborn.domain.profile import CertificateProfile
from keyborn.domain.token import TokenId
from keyborn.ports import CertificateAuthority, Enrollments, Entropy
from keyborn.service.saga import SagaStep, StepListener

_TIME_BYTES = 6
"""Milliseconds since 1970, big-endian: positive as an INTEGER until the year 6429."""
_SERIAL_BYTES, _INTENT_BYTES = 14, 8
"""Random ones after the time. A serial number needs 64 bits that nobody can guess (CA/Browser Forum Baseline
Requirements 7.1), and has 20 octets at most (RFC 5280 4.1.2.2)."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Permission:
    """On what an intent rests: a token, or the word of the certificate that it renews."""

    token: TokenId
    renews: CertificateId | None = None


def propose(
    name: ThingName,
    csr: CertificateRequest,
    permission: Permission,
    now: datetime,
    *,
    profile: CertificateProfile,
    entropy: Entropy,
) -> Intent:
    """The intent that an attempt would like to record.

    Its id and its serial number begin with the time: a registry of a million things writes them at the end of
    its indexes, not all over them.
    """
    validity = profile.validity(now)
    begins = ((now - _EPOCH) // _MILLISECOND).to_bytes(_TIME_BYTES)
    return Intent(
        id=IntentId((begins + entropy.token_bytes(_INTENT_BYTES)).hex()),
        thing=name,
        key_hash=csr.key_hash,
        token=permission.token,
        created_at=now,
        serial=int.from_bytes(begins + entropy.token_bytes(_SERIAL_BYTES)),
        not_before=validity.not_before,
        not_after=validity.not_after,
        slot=Slot.CURRENT if permission.renews is None else Slot.SUCCESSOR,
        renews=permission.renews,
    )


class RecordedSigner:
    """Signs for those who decide in other processes; that an intent was recorded, its caller has seen to."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._authority = authority

    async def sign(self, intent: Intent, public_key_der: bytes, csr_pem: str) -> bytes:
        """A leaf's DER for the key whose possession the CSR proved; raises WeakKey for another key."""
        hashed = key_hash(public_key_der)
        proved = CertificateRequest(intent.thing, public_key_der, hashed, "", csr_pem, frozenset())
        return await self._authority.issue(approve(intent, proved))


class Issuing:
    """Has the certificate authority sign what was decided, and makes it active."""

    def __init__(
        self, enrollments: Enrollments, authority: CertificateAuthority, on_step: StepListener
    ) -> None:
        self._enrollments = enrollments
        self._authority = authority
        self._on_step = on_step

    async def issue(
        self, verdict: Issue, csr: CertificateRequest, success: Callable[[Certificate], AuditEvent]
    ) -> tuple[Certificate, bool]:
        """The active certificate, and whether it had been given before; ``success`` is recorded with it."""
        approved = approve(verdict.intent, csr)
        signed = read_issued(await self._authority.issue(approved), approved)
        self._on_step(SagaStep.SIGNED)
        kept = await self._enrollments.store(verdict.intent, signed)
        self._on_step(SagaStep.STORED)
        active = await self._enrollments.activate(verdict.intent.id, success(kept))
        self._on_step(SagaStep.ACTIVATED)
        return active, verdict.resumed or kept.id != signed.id
