"""The commands of renewal: a successor on the word of the key before it, its confirmation, its withdrawal."""

from dataclasses import replace
from datetime import datetime

from keyborn.adapters.sql import ending, enrolling, rows
from keyborn.adapters.sql.session import Session
from keyborn.domain.audit import AuditEvent, succession, withdrawal
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Issue, Verdict
from keyborn.domain.lifecycle import require_here
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.domain.renewal import (
    Confirmation,
    RenewalAttempt,
    RenewalStanding,
    decide_renewal,
    displaced,
    is_spared,
    retires_predecessor,
)
from keyborn.domain.thing import Thing

OVERDUE = (
    rows.CERTIFICATES + "JOIN attachments a ON a.certificate = c.id "
    "LEFT JOIN attachments b ON b.thing = a.thing AND b.slot = 'current' "
    "LEFT JOIN certificates p ON p.id = b.certificate "
    "WHERE a.slot = 'successor' AND c.not_before < ? AND NOT ("
    "c.renews IS NOT NULL AND c.connected_at IS NOT NULL AND c.not_after >= ?"
    " AND (p.not_after IS NULL OR p.not_after < ?)) "
    "ORDER BY c.not_before, c.id LIMIT ?"
)
"""``is_spared`` in SQL, so that a page is not filled with those that nobody may withdraw."""


def renew(session: Session, attempt: RenewalAttempt) -> Verdict:
    """See ``Renewals.renew``."""
    standing = _standing(session, attempt)
    verdict = decide_renewal(standing, attempt)
    if not isinstance(verdict, Issue) or verdict.resumed:
        return verdict
    gone = displaced(standing, verdict.intent)
    if gone is not None:
        _bury(session, gone, attempt.now)
        session.chain(withdrawal(gone, attempt.now, attempt.signer, "another key", attempt.source))
    if standing.open_intent is not None:
        enrolling.supersede(session, standing.open_intent, verdict.intent)
    enrolling.record_intent(session, verdict.intent)
    return verdict


def _standing(session: Session, attempt: RenewalAttempt) -> RenewalStanding:
    signer, thing = signer_of(session, attempt.signer)
    if signer is None:
        return RenewalStanding()
    owner, revoked_at = _key(session, attempt.key)
    return RenewalStanding(
        signer=signer,
        thing=thing,
        key_owner=owner,
        key_revoked=revoked_at is not None,
        successor=enrolling.attached(session, signer.thing, Slot.SUCCESSOR),
        open_intent=enrolling.open_intent(session, signer.thing),
    )


def signer_of(session: Session, certificate: CertificateId) -> tuple[Certificate | None, Thing | None]:
    """A certificate and its record, as far as there are such."""
    row = session.one(rows.CERTIFICATES + "WHERE c.id = ?", certificate)
    if row is None:
        return None, None
    signer = rows.certificate(row)
    record = session.one(rows.THINGS + "WHERE name = ?", signer.thing)
    return signer, None if record is None else rows.thing(record)


def _key(session: Session, key: KeyHash) -> rows.Row:
    """Whose a key is, and since when it has a tombstone."""
    row = session.one(
        "SELECT (SELECT thing FROM keys WHERE key_hash = ?),"
        " (SELECT at FROM key_tombstones WHERE key_hash = ?)",
        key,
        key,
    )
    assert row is not None, "a question without a table always has an answer"
    return row


def confirm(session: Session, confirmation: Confirmation) -> Certificate:
    """See ``Renewals.confirm``."""
    signer, thing = signer_of(session, confirmation.signer)
    changes = retires_predecessor(thing, signer, confirmation.now)
    assert signer is not None, "the rules have refused it"
    if not changes:
        return signer
    promoted, retired = ending.promote(session, signer, confirmation.now)
    told = succession(promoted, retired, confirmation.now, action="renew.confirm", source=confirmation.source)
    session.chain(told)
    return promoted


def withdraw(session: Session, certificate: CertificateId, event: AuditEvent) -> bool:
    """See ``Successors.withdraw_successor``."""
    row = session.one(
        rows.CERTIFICATES
        + "JOIN attachments a ON a.certificate = c.id WHERE c.id = ? AND a.slot = 'successor'",
        certificate,
    )
    if row is None:
        return False
    waiting = rows.certificate(row)
    if is_spared(waiting, enrolling.attached(session, waiting.thing, Slot.CURRENT), event.at):
        return False
    _bury(session, waiting, event.at)
    session.chain(event)
    return True


def _bury(session: Session, successor: Certificate, at: datetime) -> None:
    """Take a successor out of its slot for good, and its key with it."""
    session.run("DELETE FROM attachments WHERE certificate = ?", successor.id)
    enrolling.mark(session, successor, CertificateStatus.REVOKED)
    enrolling.bury(session, successor.key_hash, successor.thing, at)


def set_grace(session: Session, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
    """See ``Grace.set_grace``."""
    thing = ending.known_thing(session, name)
    require_here(thing)
    if thing.grace_until == until:
        return thing
    moment = None if until is None else rows.to_ms(until)
    session.run("UPDATE things SET grace_until = ? WHERE name = ?", moment, name)
    session.chain(event)
    return replace(thing, grace_until=until)
