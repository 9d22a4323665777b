"""Access policies: the commands that keep and attach them, and a badge read as one snapshot.

Who has a policy is asked of two partial indexes, which hold nobody who has the default one by default.
"""

from keyborn.adapters.sql import rows
from keyborn.adapters.sql.ending import known_thing
from keyborn.adapters.sql.reads import Ask
from keyborn.adapters.sql.session import Session
from keyborn.domain.access import Badge
from keyborn.domain.access_policy.attaching import attached, detached, in_force, revised
from keyborn.domain.access_policy.document import DEFAULT_POLICY, AccessPolicy, PolicyName
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import NotFound, PolicyInUse
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import Thing

USERS = "SELECT name FROM things WHERE policies IS NOT NULL AND instr(policies, ?) > 0 "
"""Takes ``rows.quoted(policy)``. (PostgreSQL calls the function strpos.)"""
WAITING_TOKENS = (
    "SELECT id FROM tokens WHERE policies IS NOT NULL AND instr(policies, ?) > 0 "
    "AND withdrawn_at IS NULL AND expires_at > ? AND (uses IS NULL OR uses_taken < uses) "
)
GIVING_GROUPS = "SELECT name FROM groups WHERE policies IS NOT NULL AND instr(policies, ?) > 0 "
BADGE = (
    "SELECT c.id, c.thing, c.key_hash, c.der, c.not_before, c.not_after, c.status, c.slot, c.connected_at,"
    " c.renews, t.name, t.status, t.key_hash, t.created_at, t.attributes, t.kind, t.policies, t.grace_until,"
    " t.grp, t.thing_type, t.release_until "
    "FROM certificates c JOIN things t ON t.name = c.thing WHERE c.id = ?"
)
_CERTIFICATE_COLUMNS = 10

# ── keeping ───────────────────────────────────────────────────────────────────────────────────────────


def put_policy(session: Session, policy: AccessPolicy, event: AuditEvent) -> AccessPolicy:
    """See ``AccessPolicies.put_policy``."""
    row = session.one(rows.POLICIES + "WHERE name = ?", policy.name)
    known = None if row is None else rows.policy(row)
    kept = revised(known, policy)
    if kept is not known:
        session.run(rows.PUT_POLICY, *rows.policy_row(kept))
        session.chain(event)
    return kept


def remove_policy(session: Session, name: PolicyName, event: AuditEvent) -> None:
    """See ``AccessPolicies.remove_policy``."""
    if name == DEFAULT_POLICY:
        raise PolicyInUse(policy=name, detail="who has no other policy has this one")
    _require_policy(session, name)
    user = session.one(USERS + "LIMIT 1", rows.quoted(name))
    if user is not None:
        raise PolicyInUse(policy=name, detail=f"{user[0]} has it")
    token = session.one(WAITING_TOKENS + "LIMIT 1", rows.quoted(name), rows.to_ms(event.at))
    if token is not None:
        raise PolicyInUse(policy=name, detail=f"the token {token[0]} would give it to whoever enrolls")
    group = session.one(GIVING_GROUPS + "LIMIT 1", rows.quoted(name))
    if group is not None:
        raise PolicyInUse(policy=name, detail=f"the group {group[0]} would give it to whoever enrolls")
    session.run("DELETE FROM policies WHERE name = ?", name)
    session.chain(event)


def _require_policy(session: Session, name: PolicyName) -> None:
    if session.one("SELECT version FROM policies WHERE name = ?", name) is None:
        raise NotFound(what="policy", name=name)


# ── attaching ─────────────────────────────────────────────────────────────────────────────────────────


def attach_policy(session: Session, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
    """See ``PolicyUse.attach_policy``."""
    thing = known_thing(session, name)
    _require_policy(session, policy)
    return _keep(session, thing, attached(thing, policy), event)


def detach_policy(session: Session, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
    """See ``PolicyUse.detach_policy``."""
    thing = known_thing(session, name)
    return _keep(session, thing, detached(thing, policy), event)


def _keep(session: Session, before: Thing, after: Thing, event: AuditEvent) -> Thing:
    if after is not before:
        names = rows.to_names(after.policies)
        session.run("UPDATE things SET policies = ? WHERE name = ?", names, after.name)
        session.chain(event)
    return after


# ── the badge ─────────────────────────────────────────────────────────────────────────────────────────


def badge(ask: Ask, certificate: CertificateId) -> Badge | None:
    """See ``DeviceDirectory.badge``; every answer of ``ask`` is of the same moment."""
    found = ask(BADGE, certificate)
    if not found:
        return None
    row = found[0]
    thing = rows.thing(row[_CERTIFICATE_COLUMNS:])
    return Badge(rows.certificate(row[:_CERTIFICATE_COLUMNS]), thing, _in_force(ask, thing))


def _in_force(ask: Ask, thing: Thing) -> tuple[AccessPolicy, ...]:
    names = in_force(thing)
    places = ", ".join("?" * len(names))
    found = ask(rows.POLICIES + f"WHERE name IN ({places})", *names) if names else []
    kept = {row[0]: rows.policy_in_force(row) for row in found}
    return tuple(policy for name in names if (policy := kept.get(name)) is not None)
