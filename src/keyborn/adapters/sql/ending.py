"""The commands after enrolment: suspend, revoke, retire; the first connection; the sweeper; tokens; audit."""

from dataclasses import replace
from datetime import datetime

from keyborn.adapters.sql import enrolling, rows
from keyborn.adapters.sql.session import Session
from keyborn.domain.audit import AuditEvent, succession
from keyborn.domain.certificate import Certificate, Slot
from keyborn.domain.errors import NotFound, RegistryUnavailable
from keyborn.domain.intent import IntentId
from keyborn.domain.lifecycle import moves
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.domain.thing import Thing, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId

# ── the thing ─────────────────────────────────────────────────────────────────────────────────────────


def set_status(session: Session, name: ThingName, status: ThingStatus, event: AuditEvent) -> Thing:
    """See ``Lifecycle.set_status``."""
    thing = known_thing(session, name)
    if not moves(thing, status):
        return thing
    session.chain(event)
    if status.is_gone:
        end(session, thing, status, event.at)
        return _settle(session, replace(thing, grace_until=None, release_until=None), status)
    if status is ThingStatus.SUSPENDED:
        _switch(session, name, "inactive")
        return _settle(session, thing, status)
    back = ThingStatus.ACTIVE if _switch(session, name, "active") else ThingStatus.CLAIMED
    return _settle(session, thing, back)


def known_thing(session: Session, name: ThingName) -> Thing:
    """A record that must be there; raises NotFound."""
    row = session.one(rows.THINGS + "WHERE name = ?", name)
    if row is None:
        raise NotFound(what="thing", name=name)
    return rows.thing(row)


def _settle(session: Session, thing: Thing, status: ThingStatus) -> Thing:
    session.run("UPDATE things SET status = ? WHERE name = ?", status.value, thing.name)
    return replace(thing, status=status)


def _switch(session: Session, name: ThingName, status: str) -> int:
    return session.run(
        "UPDATE certificates SET status = ? WHERE id IN "
        "(SELECT certificate FROM attachments WHERE thing = ?)",
        status,
        name,
    )


def end(session: Session, thing: Thing, status: ThingStatus, at: datetime) -> None:
    """Take everything from a thing for good but its name, which stays as its tombstone."""
    session.run("UPDATE things SET grace_until = NULL, release_until = NULL WHERE name = ?", thing.name)
    session.run("DELETE FROM intents WHERE thing = ?", thing.name)
    session.run("DELETE FROM attachments WHERE thing = ?", thing.name)
    session.run("UPDATE certificates SET status = 'revoked' WHERE thing = ?", thing.name)
    session.run(
        "INSERT INTO key_tombstones (key_hash, thing, at) "
        "SELECT key_hash, thing, ? FROM keys WHERE thing = ? ON CONFLICT (key_hash) DO NOTHING",
        rows.to_ms(at),
        thing.name,
    )
    session.run(
        "INSERT INTO name_tombstones (name, status, key_hash, at) VALUES (?, ?, ?, ?) ON CONFLICT (name) "
        "DO UPDATE SET status = excluded.status, key_hash = excluded.key_hash, at = excluded.at",
        thing.name,
        status.value,
        thing.key_hash,
        rows.to_ms(at),
    )


# ── the first connection ──────────────────────────────────────────────────────────────────────────────


def connected(session: Session, certificate: CertificateId, at: datetime) -> Certificate:
    """See ``DeviceDirectory.connected``."""
    row = session.one(rows.CERTIFICATES + "WHERE id = ?", certificate)
    if row is None:
        raise NotFound(what="certificate", name=certificate)
    known = rows.certificate(row)
    if not known.live(at) or known.connected_at is not None:
        return known
    session.run("UPDATE certificates SET connected_at = ? WHERE id = ?", rows.to_ms(at), certificate)
    met = replace(known, connected_at=at)
    if met.slot is Slot.CURRENT or met.renews is not None:
        return met
    promoted, retired = promote(session, met, at)
    session.chain(succession(promoted, retired, at))
    return promoted


def promote(session: Session, successor: Certificate, at: datetime) -> tuple[Certificate, KeyHash]:
    """Make a successor its thing's current certificate; with the key that retires by that."""
    thing = known_thing(session, successor.thing)
    waiting = enrolling.open_intent(session, thing.name)
    if waiting is not None and waiting.slot is Slot.CURRENT:
        enrolling.undo(session, waiting, thing)  # it would bring back the key that retires here
    session.run("DELETE FROM attachments WHERE certificate = ?", successor.id)
    session.run("UPDATE certificates SET slot = 'current' WHERE id = ?", successor.id)
    promoted = replace(successor, slot=Slot.CURRENT)
    enrolling.attach(session, promoted, in_use=True)
    enrolling.bury(session, thing.key_hash, thing.name, at)
    session.run("UPDATE things SET key_hash = ? WHERE name = ?", successor.key_hash, thing.name)
    return promoted, thing.key_hash


# ── the sweeper ───────────────────────────────────────────────────────────────────────────────────────


def drop(session: Session, intent: IntentId, event: AuditEvent) -> bool:
    """See ``Leftovers.drop``."""
    row = session.one(rows.INTENTS + "WHERE id = ?", intent)
    if row is None:
        return False
    waiting = rows.intent(row)
    enrolling.undo(session, waiting, known_thing(session, waiting.thing))
    session.chain(event)
    return True


def beat(session: Session, at: datetime) -> None:
    """See ``SqliteRegistry.prove_writable``."""
    session.run(
        "INSERT INTO pulse (one, at) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET at = excluded.at",
        rows.to_ms(at),
    )


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────


def add_token(session: Session, token: EnrollmentToken, event: AuditEvent) -> None:
    """See ``Tokens.add``."""
    known = session.one("SELECT digest FROM tokens WHERE id = ?", token.id)
    if known is None:
        session.run(rows.ADD_TOKENS, *rows.token_row(token))
        session.chain(event)
    elif known[0] != token.digest:
        raise RegistryUnavailable  # two secrets, one id: the next attempt draws another secret


def withdraw_token(session: Session, token: TokenId, event: AuditEvent) -> EnrollmentToken:
    """See ``Tokens.withdraw``."""
    changed = session.run(
        "UPDATE tokens SET withdrawn_at = ? WHERE id = ? AND withdrawn_at IS NULL",
        rows.to_ms(event.at),
        token,
    )
    row = session.one(rows.TOKENS + "WHERE id = ?", token)
    if row is None:
        raise NotFound(what="token", name=token)
    if changed:
        session.chain(event)
    return rows.token_use(row).token.listed()
