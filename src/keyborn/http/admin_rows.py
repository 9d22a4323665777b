"""Records as the operator sees them: camelCase, times in UTC to the second, and never a digest or a key."""

from datetime import datetime

from keyborn.domain.access_policy.document import DEFAULT_POLICY, AccessPolicy
from keyborn.domain.access_policy.explain import Explanation, StatementNote
from keyborn.domain.access_policy.lint import Finding
from keyborn.domain.audit import AuditRecord
from keyborn.domain.certificate import Certificate
from keyborn.domain.group import GroupDocument
from keyborn.domain.group_file import read_group
from keyborn.domain.method import Method
from keyborn.domain.moment import shown
from keyborn.domain.roots import Belief
from keyborn.domain.thing import Thing
from keyborn.domain.token import EnrollmentToken
from keyborn.service.roots import RootsReport


def token_row(token: EnrollmentToken, now: datetime, uses_taken: int = 0) -> dict[str, object]:
    """A token as the operator sees it; no digest."""
    return {
        "id": token.id,
        "state": _token_state(token, now, uses_taken),
        "things": token.scope.pattern,
        "kind": token.kind.value,
        "group": token.group,
        "method": (Method.TOKEN if token.key is None else Method.GROUP_KEY).value,
        "uses": token.uses,
        "usesTaken": uses_taken,
        "replace": token.replace,
        "issued": shown(token.issued_at),
        "expires": shown(token.expires_at),
    }


def _token_state(token: EnrollmentToken, now: datetime, uses_taken: int) -> str:
    if token.withdrawn_at:
        return "withdrawn"
    if token.expired(now):
        return "expired"
    return "used up" if token.uses is not None and uses_taken >= token.uses else "valid"


def thing_row(thing: Thing) -> dict[str, object]:
    """A thing as the operator sees it."""
    return {
        "thingName": thing.name,
        "kind": thing.kind.value,
        "status": thing.status.value,
        "keyHash": thing.key_hash,
        "created": shown(thing.created_at),
        "attributes": dict(thing.attributes),
        "policies": [DEFAULT_POLICY] if thing.policies is None else list(thing.policies),
        "graceUntil": None if thing.grace_until is None else shown(thing.grace_until),
        "group": thing.group,
        "thingType": thing.thing_type,
        "releaseUntil": None if thing.release_until is None else shown(thing.release_until),
    }


def group_row(document: GroupDocument, enrolled: int) -> dict[str, object]:
    """An enrolment group without its file; what cannot be read, and lets nobody in, is not ``usable``."""
    group = read_group(document)
    return {
        "groupName": document.name,
        "version": document.version,
        "updated": shown(document.updated_at),
        "usable": group is not None,
        "things": None if group is None else group.things.pattern,
        "methods": [] if group is None else [str(way) for way in group.ways],
        "taken": None if group is None else group.taken.value,
        "enrolled": enrolled,
        "limit": None if group is None else group.limit,
        "opens": None if group is None or group.opens is None else shown(group.opens),
        "closes": None if group is None or group.closes is None else shown(group.closes),
        "webhookSigned": document.webhook_secret is not None,
    }


def belief_row(belief: Belief) -> dict[str, object]:
    """Which roots a thing believes."""
    since = belief.since
    return {
        "thingName": belief.thing,
        "roots": belief.roots,
        "since": None if since is None else shown(since),
    }


def roots_row(told: RootsReport) -> dict[str, object]:
    """Things by the set of roots that they believe, and what may be done next."""
    names = told.names
    sets = [
        {"roots": roots, "things": things, "newest": roots == names.newest} for roots, things in told.sets
    ]
    return {
        "newest": names.newest,
        "lacking": told.lacking,
        "sets": sets,
        "root": names.present,
        "nextRoot": names.following,
        "oldRoot": names.old,
        "underOldRoot": told.under_old,
        "maySwitch": told.may_switch,
        "oldRootMayGo": told.may_retire,
    }


def certificate_row(certificate: Certificate, now: datetime) -> dict[str, object]:
    """A certificate as the operator sees it; expired is computed."""
    expired = certificate.expired(now) and certificate.status.value == "active"
    connected = certificate.connected_at
    return {
        "certificateId": certificate.id,
        "status": "expired" if expired else certificate.status.value,
        "slot": certificate.slot.value,
        "notBefore": shown(certificate.not_before),
        "notAfter": shown(certificate.not_after),
        "firstConnected": shown(connected) if connected else None,
        "renews": certificate.renews,
    }


def audit_row(record: AuditRecord) -> dict[str, object]:
    """One record of the audit trail."""
    event = record.event
    return {
        "sequence": record.sequence,
        "at": event.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "action": event.action,
        "outcome": event.outcome,
        "subject": event.subject,
        "actor": event.actor,
        "source": event.source,
        "details": dict(event.details),
        "previous": record.previous,
        "hash": record.hash,
    }


def policy_row(policy: AccessPolicy) -> dict[str, object]:
    """A policy without its document."""
    return {
        "policyName": policy.name,
        "version": policy.version,
        "statements": len(policy.document.statements),
        "updated": shown(policy.updated_at),
        "writtenBy": "keyborn" if policy.shipped else "operator",
    }


def finding_row(finding: Finding) -> dict[str, object]:
    """What lint found, with the corrected statement where there is one."""
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "where": finding.where,
        "sentence": finding.sentence,
        "corrected": finding.corrected,
    }


def explanation_row(said: Explanation) -> dict[str, object]:
    """A simulation: ``verdict`` is allowed or denied, ``how`` says by what."""
    return {
        "verdict": "allowed" if said.allowed else "denied",
        "how": said.verdict.value,
        "reason": said.reason,
        "deciding": _note_row(said.deciding) if said.deciding is not None else None,
        "variables": [
            {"name": each.name, "value": each.value, "because": each.reason} for each in said.variables
        ],
        "statements": [_note_row(note) for note in said.statements],
    }


def _note_row(note: StatementNote) -> dict[str, object]:
    return {
        "policyName": note.policy,
        "number": note.number,
        "sid": note.sid,
        "effect": note.effect.value,
        "matched": note.matched,
        "because": note.line,
    }
