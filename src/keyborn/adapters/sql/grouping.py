"""The commands of enrolment groups, and the rows of their tables: documents, registered keys, approvals."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from keyborn.adapters.sql import rows
from keyborn.adapters.sql.ending import known_thing
from keyborn.adapters.sql.session import Session
from keyborn.domain.approval import Approval, ApprovalId, ApprovalState, admitted, decided
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NotFound, NotRegistered
from keyborn.domain.group import GroupDocument, GroupUse, revised_group
from keyborn.domain.lifecycle import require_here
from keyborn.domain.names import GroupName, KeyHash, ThingName
from keyborn.domain.registered import Registered, RegisteredKey, announce
from keyborn.domain.thing import Thing

# Tables are called by one letter, so that a question may join them.
_GROUP = "SELECT g.name, g.text, g.version, g.updated_at, g.policies, g.webhook_secret"
GROUPS = _GROUP + " FROM groups g "
GROUPS_USED = _GROUP + ", coalesce(a.taken, 0) FROM groups g LEFT JOIN accounts a ON a.id = 'g:' || g.name "
"""``domain.group.account_of``, in SQL."""
_PUT_GROUP = (
    "INSERT INTO groups (name, text, version, updated_at, policies, webhook_secret) "
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text,"
    " version = excluded.version, updated_at = excluded.updated_at, policies = excluded.policies,"
    " webhook_secret = excluded.webhook_secret"
)
REGISTERED = "SELECT key_hash, thing, grp FROM registered "
_AMONG = "WHERE key_hash IN (SELECT value FROM json_each(?))"
_REGISTER = "INSERT INTO registered (key_hash, thing, grp) VALUES (?, ?, ?)"
APPROVALS = (
    "SELECT id, grp, thing, key_hash, source, asked_at, expires_at, replaces, state, decided_by, decided_at "
    "FROM approvals "
)
WAITING = "SELECT count(*) FROM approvals WHERE grp = ? AND state = 'pending' AND expires_at > ?"
_PUT_APPROVAL = "INSERT OR REPLACE INTO approvals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
FORGET = (
    "DELETE FROM approvals WHERE id IN "
    "(SELECT id FROM approvals WHERE expires_at < ? ORDER BY expires_at, id LIMIT ?)"
)

# ── documents ─────────────────────────────────────────────────────────────────────────────────────────


def put_group(session: Session, put: GroupDocument, event: AuditEvent) -> GroupDocument:
    """See ``Groups.put_group``."""
    row = session.one(GROUPS + "WHERE name = ?", put.name)
    known = None if row is None else group(row)
    kept = revised_group(known, put)
    if kept is not known:
        session.run(_PUT_GROUP, *_group_row(kept))
        session.chain(event)
    return kept


def remove_group(session: Session, name: GroupName, event: AuditEvent) -> None:
    """See ``Groups.remove_group``."""
    if not session.run("DELETE FROM groups WHERE name = ?", name):
        raise NotFound(what="group", name=name)
    session.chain(event)


def group(row: rows.Row) -> GroupDocument:
    """Read the columns of GROUPS."""
    name, text, version, updated_at, policies, secret = row
    return GroupDocument(
        GroupName(name), text, rows.from_ms(updated_at), version, rows.names(policies) or (), secret
    )


def group_use(row: rows.Row) -> GroupUse:
    """Read the columns of GROUPS_USED."""
    *document, taken = row
    return GroupUse(group(document), taken)


def _group_row(value: GroupDocument) -> tuple[object, ...]:
    return (
        value.name,
        value.text,
        value.version,
        rows.to_ms(value.updated_at),
        rows.to_names(value.policies or None),
        value.webhook_secret,
    )


# ── things ────────────────────────────────────────────────────────────────────────────────────────────


def set_release(session: Session, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
    """See ``Regrouping.set_release``."""
    thing = known_thing(session, name)
    require_here(thing)
    if thing.release_until == until:
        return thing
    moment = None if until is None else rows.to_ms(until)
    session.run("UPDATE things SET release_until = ? WHERE name = ?", moment, name)
    session.chain(event)
    return replace(thing, release_until=until)


def set_group(session: Session, name: ThingName, into: GroupName | None, event: AuditEvent) -> Thing:
    """See ``Regrouping.set_group``."""
    thing = known_thing(session, name)
    if into is not None and session.one("SELECT version FROM groups WHERE name = ?", into) is None:
        raise NotFound(what="group", name=into)
    if thing.group == into:
        return thing
    session.run("UPDATE things SET grp = ? WHERE name = ?", into, name)
    session.chain(event)
    return replace(thing, group=into)


def set_attributes(
    session: Session, name: ThingName, attributes: Mapping[str, str], event: AuditEvent
) -> Thing:
    """See ``Regrouping.set_attributes``."""
    thing = known_thing(session, name)
    given = dict(attributes)
    if thing.attributes == given:
        return thing
    session.run("UPDATE things SET attributes = ? WHERE name = ?", rows.to_json(given), name)
    session.chain(event)
    return replace(thing, attributes=given)


# ── registered keys ───────────────────────────────────────────────────────────────────────────────────


def register(session: Session, keys: Sequence[RegisteredKey], event: AuditEvent) -> Registered:
    """See ``RegisteredKeys.register``."""
    found = session.all(REGISTERED + _AMONG, json.dumps([one.key_hash for one in keys]))
    known = {one.key_hash: one for one in map(registered, found)}
    fresh, told = announce(keys, known)
    if fresh:
        session.many(_REGISTER, sorted((one.key_hash, one.thing, one.group) for one in fresh))
        session.chain(event)
    return told


def unregister(session: Session, key: KeyHash, event: AuditEvent) -> None:
    """See ``RegisteredKeys.unregister``."""
    if not session.run("DELETE FROM registered WHERE key_hash = ?", key):
        raise NotRegistered(key=key)
    session.chain(event)


def registered(row: rows.Row) -> RegisteredKey:
    """Read the columns of REGISTERED."""
    key_hash, thing, into = row
    return RegisteredKey(KeyHash(key_hash), ThingName(thing), GroupName(into))


# ── approvals ─────────────────────────────────────────────────────────────────────────────────────────


def ask(session: Session, wish: Approval, most: int, event: AuditEvent) -> Approval:
    """See ``Approvals.ask``."""
    known = _known_approval(session, wish.id)
    row = session.one(WAITING, wish.group, rows.to_ms(wish.asked_at))
    kept = admitted(known, wish, row[0] if row else 0, most)
    if kept is not known:
        _keep(session, kept, event)
    return kept


def decide(
    session: Session, approval: ApprovalId, state: ApprovalState, until: datetime, event: AuditEvent
) -> Approval:
    """See ``Approvals.decide``."""
    known = _known_approval(session, approval)
    if known is None:
        raise NotFound(what="approval", name=approval)
    kept = decided(known, state, until, event)
    if kept is not known:
        _keep(session, kept, event)
    return kept


def _known_approval(session: Session, approval: ApprovalId) -> Approval | None:
    row = session.one(APPROVALS + "WHERE id = ?", approval)
    return None if row is None else read_approval(row)


def _keep(session: Session, kept: Approval, event: AuditEvent) -> None:
    session.run(_PUT_APPROVAL, *_approval_row(kept))
    session.chain(event)


def read_approval(row: rows.Row) -> Approval:
    """Read the columns of APPROVALS."""
    identity, into, thing, key_hash, source, asked_at, expires_at, replaces, state, by, at = row
    return Approval(
        ApprovalId(identity),
        GroupName(into),
        ThingName(thing),
        KeyHash(key_hash),
        source,
        rows.from_ms(asked_at),
        rows.from_ms(expires_at),
        bool(replaces),
        ApprovalState(state),
        by,
        rows.maybe_moment(at),
    )


def _approval_row(value: Approval) -> tuple[object, ...]:
    return (
        value.id,
        value.group,
        value.thing,
        value.key_hash,
        value.source,
        rows.to_ms(value.asked_at),
        rows.to_ms(value.expires_at),
        int(value.replaces),
        value.state.value,
        value.decided_by,
        None if value.decided_at is None else rows.to_ms(value.decided_at),
    )
