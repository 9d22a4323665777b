"""Signing within a claim: the steps of an enrolment that a registry takes in one durable effect.

The order is the saga's: decide, approve, sign, compare, keep. What is different is that nothing of it is on
disk before all of it is; so a crash leaves nothing, and nobody has seen what was signed.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.csr import CertificateRequest
from keyborn.domain.enrollment import Issue, staged
from keyborn.domain.intent import Intent
from keyborn.domain.issuance import ApprovedRequest, approve
from keyborn.domain.issued import SignedLeaf, issued

Sign = Callable[[ApprovedRequest], SignedLeaf]
"""A certificate authority that does not wait: it returns the leaf, as it read it again."""


class GrantStep(StrEnum):
    """What has just happened within a claim, all of it before the commit."""

    DECIDED = "decided"
    """Approved; nothing is signed or written yet."""
    SIGNED = "signed"
    WRITTEN = "written"
    """All rows are written; the commit comes next."""


GrantListener = Callable[[GrantStep], None]


def unheard(_step: GrantStep) -> None:
    """The listener of a registry that nobody is watching."""


def signed(issue: Issue, request: CertificateRequest, sign: Sign, on_step: GrantListener) -> Certificate:
    """Have signed what was decided; returns it as it is first kept, inactive.

    Raises WeakKey for a request that is not the intent's, ValueError for a certificate that is not, and what
    ``sign`` raises.
    """
    approved = approve(issue.intent, request)
    on_step(GrantStep.DECIDED)
    certificate = staged(issue.intent, issued(sign(approved), approved))
    on_step(GrantStep.SIGNED)
    return certificate


def enrolled(
    intent: Intent, certificate: Certificate, at: datetime, source: str, proof: Mapping[str, str]
) -> AuditEvent:
    """What is recorded of an enrolment that came to a certificate; ``proof``: on what permission."""
    facts = {"certificateId": certificate.id, "keyHash": intent.key_hash, "slot": intent.slot.value}
    return AuditEvent(at, "enroll", "done", intent.thing, intent.token, source, {**proof, **facts})


def in_force(certificate: Certificate) -> Certificate:
    """The same, active."""
    return replace(certificate, status=CertificateStatus.ACTIVE)
