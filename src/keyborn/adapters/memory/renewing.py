"""Renewal in memory: the effects of ``ports.Renewals`` and ``ports.Successors``."""

from collections.abc import Iterator
from datetime import datetime

from keyborn.adapters.memory.state import State
from keyborn.domain.audit import AuditEvent, succession, withdrawal
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Issue, Verdict
from keyborn.domain.names import CertificateId
from keyborn.domain.renewal import (
    Confirmation,
    RenewalAttempt,
    RenewalStanding,
    decide_renewal,
    displaced,
    is_spared,
    retires_predecessor,
)


def renew(state: State, attempt: RenewalAttempt) -> Verdict:
    """See ``Renewals.renew``."""
    standing = _standing(state, attempt)
    verdict = decide_renewal(standing, attempt)
    if not isinstance(verdict, Issue) or verdict.resumed:
        return verdict
    intent = verdict.intent
    state.require_new(intent)
    gone = displaced(standing, intent)
    if gone is not None:
        _bury(state, gone)
        state.append(withdrawal(gone, attempt.now, attempt.signer, "another key", attempt.source))
    if standing.open_intent is not None:
        state.supersede(standing.open_intent, intent)
    state.open(intent)
    return verdict


def _standing(state: State, attempt: RenewalAttempt) -> RenewalStanding:
    signer = state.certificates.get(attempt.signer)
    if signer is None:
        return RenewalStanding()
    bound = state.keys.get(attempt.key)
    return RenewalStanding(
        signer=signer,
        thing=state.things.get(signer.thing),
        key_owner=bound.thing if bound else None,
        key_revoked=attempt.key in state.key_tombstones,
        successor=state.held(signer.thing, Slot.SUCCESSOR),
        open_intent=state.open_intent(signer.thing),
    )


def confirm(state: State, confirmation: Confirmation) -> Certificate:
    """See ``Renewals.confirm``."""
    signer = state.certificates.get(confirmation.signer)
    thing = None if signer is None else state.things.get(signer.thing)
    changes = retires_predecessor(thing, signer, confirmation.now)
    assert signer is not None, "the rules have refused it"
    if not changes:
        return signer
    promoted, retired = state.promote(signer)
    told = succession(promoted, retired, confirmation.now, action="renew.confirm", source=confirmation.source)
    state.append(told)
    return promoted


def overdue(state: State, before: datetime, at: datetime) -> Iterator[Certificate]:
    """Successors that are valid since before ``before``, without those that are spared."""
    for (thing, slot), held in state.attached.items():
        successor = state.certificates[held]
        late = slot is Slot.SUCCESSOR and successor.not_before < before
        if late and not is_spared(successor, state.held(thing, Slot.CURRENT), at):
            yield successor


def by_age(successor: Certificate) -> tuple[datetime, CertificateId]:
    """Longest first."""
    return successor.not_before, successor.id


def withdraw(state: State, certificate: CertificateId, event: AuditEvent) -> bool:
    """See ``Successors.withdraw_successor``."""
    known = state.certificates.get(certificate)
    if known is None or state.attached.get((known.thing, Slot.SUCCESSOR)) != certificate:
        return False
    if is_spared(known, state.held(known.thing, Slot.CURRENT), event.at):
        return False
    _bury(state, known)
    state.append(event)
    return True


def _bury(state: State, successor: Certificate) -> None:
    """Take a successor out of its slot for good, and its key with it."""
    del state.attached[successor.thing, Slot.SUCCESSOR]
    state.mark(successor, CertificateStatus.REVOKED)
    state.key_tombstones.add(successor.key_hash)
