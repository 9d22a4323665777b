"""The commands of the enrolment saga: claim, store, activate, and undoing what came to nothing.

Each runs in the writer's transaction, so what it reads still holds when it writes. The constraints of the
schema stand behind that: where one objects, the writer takes the command back and runs it again.
"""

from dataclasses import replace
from datetime import datetime

from keyborn.adapters.sql import accounts, rows
from keyborn.adapters.sql.session import Session
from keyborn.domain.access_policy.attaching import after_replacement
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Attempt, Issue, Standing, Verdict, claimed, decide, owed, staged
from keyborn.domain.errors import EnrollmentInterrupted, ThingRevoked
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import KeyHash, ThingName
from keyborn.domain.thing import Thing, ThingStatus

_ATTACHED = rows.CERTIFICATES + "JOIN attachments a ON a.certificate = c.id WHERE a.thing = ? AND a.slot = ?"

_STAGED = (
    "SELECT c.id, c.thing, c.key_hash, c.der, c.not_before, c.not_after, c.status, c.slot, c.connected_at,"
    " c.renews, i.id, t.status, t.grp, n.at FROM certificates c "
    "LEFT JOIN intents i ON i.id = c.intent "
    "LEFT JOIN things t ON t.name = i.thing "
    "LEFT JOIN name_tombstones n ON n.name = i.thing WHERE c.intent = ?"
)

# ── claim ─────────────────────────────────────────────────────────────────────────────────────────────


def claim(session: Session, attempt: Attempt) -> Verdict:
    """See ``Enrollments.claim``."""
    standing = gather(session, attempt)
    verdict = decide(standing, attempt)
    if isinstance(verdict, Issue):
        write(session, standing, attempt, verdict)
    return verdict


def write(session: Session, standing: Standing, attempt: Attempt, verdict: Issue) -> None:
    """What an ``Issue`` leaves behind until it is active, and what it has to pay."""
    if not verdict.resumed:
        _record(session, standing, attempt, verdict.intent)
    accounts.charge(session, owed(standing, attempt), standing, attempt, verdict.intent.id)


def gather(session: Session, attempt: Attempt) -> Standing:
    """What is known of an attempt; a new name and key under no group take one question."""
    permission = accounts.permission(session, attempt)
    if permission is None:
        return Standing(token_withdrawn=True)
    member = accounts.membership(session, attempt)
    same = permission.namesake == attempt.thing
    row = session.one(rows.THINGS + "WHERE name = ?", attempt.thing) if same else None
    return Standing(
        thing=None if row is None else rows.thing(row),
        case_twin=None if same else permission.namesake,
        key_owner=permission.key_owner,
        key_revoked=permission.key_revoked,
        current=attached(session, attempt.thing, Slot.CURRENT) if same else None,
        successor=attached(session, attempt.thing, Slot.SUCCESSOR) if same else None,
        open_intent=open_intent(session, attempt.thing) if same else None,
        redeemed=permission.redeemed,
        uses_taken=permission.uses_taken,
        token_withdrawn=permission.withdrawn,
        group_removed=member.removed,
        group_redeemed=member.redeemed,
        group_taken=member.taken,
        rate_taken=member.lately,
    )


def attached(session: Session, thing: ThingName, slot: Slot) -> Certificate | None:
    """The certificate that a thing holds in a slot."""
    row = session.one(_ATTACHED, thing, slot.value)
    return None if row is None else rows.certificate(row)


def open_intent(session: Session, thing: ThingName) -> Intent | None:
    """The thing's open intent."""
    row = session.one(rows.INTENTS + "WHERE thing = ?", thing)
    return None if row is None else rows.intent(row)


def _record(session: Session, standing: Standing, attempt: Attempt, intent: Intent) -> None:
    if standing.open_intent is not None:
        supersede(session, standing.open_intent, intent)
    thing = standing.thing
    if thing is None:
        session.run(rows.ADD_THING, *rows.thing_row(claimed(attempt)))
    elif thing.status.is_gone:
        _reopen(session, thing, attempt)
    elif intent.slot is Slot.SUCCESSOR and thing.release_until is not None:
        session.run("UPDATE things SET release_until = NULL WHERE name = ?", thing.name)
    record_intent(session, intent)


def record_intent(session: Session, intent: Intent) -> None:
    """Write an intent down, and bind its key."""
    session.run(
        rows.ADD_KEY + " ON CONFLICT (key_hash) DO NOTHING",
        intent.key_hash,
        intent.thing,
        intent.id,
    )
    session.run(rows.ADD_INTENT, *rows.intent_row(intent))


def _reopen(session: Session, gone: Thing, attempt: Attempt) -> None:
    """A replacement frees a gone name; its tombstone remembers what the record was until then."""
    session.run(
        "UPDATE name_tombstones SET policies = ? WHERE name = ?", rows.to_names(gone.policies), gone.name
    )
    session.run(
        "UPDATE things SET status = 'claimed', key_hash = ?, policies = ? WHERE name = ?",
        attempt.key,
        rows.to_names(after_replacement(gone, attempt.applicant.policies)),
        attempt.thing,
    )


# ── store, activate ───────────────────────────────────────────────────────────────────────────────────


def store(session: Session, intent: Intent, certificate: Certificate) -> Certificate:
    """See ``Enrollments.store``."""
    kept = staged(intent, certificate)
    if session.one("SELECT id FROM intents WHERE id = ?", intent.id) is None:
        return _winner(session, intent)
    first = session.run(
        rows.ADD_CERTIFICATE + " ON CONFLICT (intent) DO NOTHING", *rows.certificate_row(intent, kept)
    )
    return kept if first else _winner(session, intent)


def _winner(session: Session, intent: Intent) -> Certificate:
    row = session.one(rows.CERTIFICATES + "WHERE intent = ? AND status <> 'revoked'", intent.id)
    if row is None:
        raise _interrupted(session, intent.thing)
    return rows.certificate(row)


def activate(session: Session, intent: IntentId, event: AuditEvent) -> Certificate:
    """See ``Enrollments.activate``."""
    row = session.one(_STAGED, intent)
    if row is None:
        raise EnrollmentInterrupted
    kept, (waiting, status, group, freed_from) = rows.certificate(row[:10]), row[10:]
    if waiting is None and kept.status is CertificateStatus.ACTIVE:
        return kept
    if waiting is None or status == ThingStatus.SUSPENDED:
        raise _interrupted(session, kept.thing)
    if status == ThingStatus.CLAIMED:
        session.run("UPDATE things SET status = 'active' WHERE name = ?", kept.thing)
    if freed_from is not None:
        session.run("DELETE FROM name_tombstones WHERE name = ?", kept.thing)
    if kept.slot is Slot.SUCCESSOR:
        _bury_renewal_before(session, kept, event.at)
    attach(session, kept, in_use=status != ThingStatus.CLAIMED)
    if group is not None:
        accounts.settle(session, kept.thing, kept.key_hash)
    session.run("DELETE FROM intents WHERE id = ?", intent)
    session.chain(event)
    return mark(session, kept, CertificateStatus.ACTIVE)


def _bury_renewal_before(session: Session, successor: Certificate, at: datetime) -> None:
    """A replacement takes the place of a renewal, whose key ends by that."""
    gone = attached(session, successor.thing, Slot.SUCCESSOR)
    if gone is not None and gone.renews is not None and gone.key_hash != successor.key_hash:
        bury(session, gone.key_hash, gone.thing, at)


def bury(session: Session, key: KeyHash, thing: ThingName, at: datetime) -> None:
    """Give a key its tombstone; the first one stays."""
    session.run(
        "INSERT INTO key_tombstones (key_hash, thing, at) VALUES (?, ?, ?) ON CONFLICT (key_hash) DO NOTHING",
        key,
        thing,
        rows.to_ms(at),
    )


def attach(session: Session, certificate: Certificate, *, in_use: bool) -> None:
    """Put a certificate into its slot; what was there becomes revoked, its key does not."""
    place = (certificate.thing, certificate.slot.value)
    if in_use:
        session.run(
            "UPDATE certificates SET status = 'revoked' WHERE id = "
            "(SELECT certificate FROM attachments WHERE thing = ? AND slot = ?)",
            *place,
        )
    session.run(
        rows.ATTACH + " ON CONFLICT (thing, slot) DO UPDATE SET certificate = excluded.certificate",
        *place,
        certificate.id,
    )


def mark(session: Session, certificate: Certificate, status: CertificateStatus) -> Certificate:
    """Give a certificate another status."""
    session.run("UPDATE certificates SET status = ? WHERE id = ?", status.value, certificate.id)
    return replace(certificate, status=status)


def _interrupted(session: Session, name: ThingName) -> ThingRevoked | EnrollmentInterrupted:
    row = session.one(rows.THINGS + "WHERE name = ?", name)
    status = None if row is None else rows.thing(row).status
    if status is not None and (status.is_gone or status is ThingStatus.SUSPENDED):
        return ThingRevoked(name=name, status=status.value)
    return EnrollmentInterrupted()


# ── undoing ───────────────────────────────────────────────────────────────────────────────────────────


def supersede(session: Session, old: Intent, new: Intent) -> None:
    """Make room for ``new`` in the place of ``old``; what the same key brought, it keeps."""
    if old.key_hash == new.key_hash:
        accounts.hand_over(session, old, new)
        session.run(
            "UPDATE keys SET intent = ? WHERE key_hash = ? AND intent = ?", new.id, old.key_hash, old.id
        )
    else:
        accounts.give_back(session, old)
        session.run("DELETE FROM keys WHERE key_hash = ? AND intent = ?", old.key_hash, old.id)
    _close(session, old)


def undo(session: Session, intent: Intent, thing: Thing) -> None:
    """Close an intent and take back what it brought: certificate, redemptions, key, claimed name."""
    _close(session, intent)
    accounts.give_back(session, intent)
    if thing.status is ThingStatus.CLAIMED:
        _free(session, thing)
    elif thing.key_hash != intent.key_hash:
        session.run("DELETE FROM keys WHERE key_hash = ? AND intent = ?", intent.key_hash, intent.id)


def _close(session: Session, intent: Intent) -> None:
    session.run("UPDATE certificates SET status = 'revoked' WHERE intent = ?", intent.id)
    session.run("DELETE FROM intents WHERE id = ?", intent.id)


def _free(session: Session, thing: Thing) -> None:
    """Forget a claimed thing that came to nothing, or let it fall back to its tombstone."""
    session.run(
        "DELETE FROM keys WHERE thing = ? AND NOT EXISTS "
        "(SELECT 1 FROM key_tombstones t WHERE t.key_hash = keys.key_hash AND t.thing = ?)",
        thing.name,
        thing.name,
    )
    fell_back = session.run(
        "UPDATE things SET (status, key_hash, policies, grace_until, release_until) = "
        "(SELECT status, key_hash, policies, NULL, NULL FROM name_tombstones"
        " WHERE name_tombstones.name = things.name) "
        "WHERE name = ? AND name IN (SELECT name FROM name_tombstones)",
        thing.name,
    )
    if not fell_back:
        session.run("DELETE FROM things WHERE name = ?", thing.name)
