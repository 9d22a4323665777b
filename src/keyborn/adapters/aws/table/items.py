"""Items become values and values become items: the only place that knows the attributes' encodings.

Times are whole milliseconds since 1970-01-01 UTC; serials are hex: 159 bits fit no number of DynamoDB (38
digits).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from keyborn.adapters.aws.table.keys import from_ms, to_ms
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.access_policy.document import AccessPolicy, PolicyDocument, PolicyName
from keyborn.domain.audit import AuditRecord, parse_event
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.errors import AuditBroken
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import CertificateId, GroupName, KeyHash, NameScope, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId, TokenUse


@dataclass(frozen=True, slots=True)
class Waiting:
    """A thing's open intent, and what it brought: that goes with it if it comes to nothing."""

    intent: Intent
    brought_key: bool
    """Whether the key became the thing's by this intent."""
    paid: tuple[TokenId, ...] = ()
    """Tokens that were redeemed for it."""
    charged: tuple[TokenId, ...] = ()
    """Other accounts that it was charged to: of groups, and of credentials that prove themselves."""
    rated: tuple[tuple[TokenId, int], ...] = ()
    """Accounts of periods, and until when each is kept (Unix time, seconds)."""
    staged: Certificate | None = None
    """What was signed for it, not active; without its DER."""
    leased_until: datetime | None = None
    """Until then the holder is at work and nobody else, and a call that it made may still take effect."""
    holder: str | None = None
    """The attempt that has the lease; None once it gave it back."""
    clean: bool = False
    """Whether the sweeper has looked after that, and left nothing active."""
    repoliced: bool = False
    """Whether the thing's policies changed before anything was signed: who is at work may still give the
    certificate those that it had."""

    def at_work(self, at: datetime) -> bool:
        """Whether somebody goes on with it at this moment."""
        return self.holder is not None and self.leased_until is not None and at < self.leased_until


@dataclass(frozen=True, slots=True)
class Dossier:
    """A thing with everything that changes together with it: one item, replaced as a whole.

    Certificates in it lack their DER, which is in their own items.
    """

    thing: Thing
    epoch: int = 0
    """How often the name has ended. A key that was bound in an earlier epoch is revoked."""
    current: Certificate | None = None
    successor: Certificate | None = None
    waiting: Waiting | None = None
    grave: Thing | None = None
    """What a freed name's record was: it comes back if the new claim comes to nothing."""
    late: datetime | None = None
    """Until then a call of the enrolment that came last may take effect in AWS IoT, after later ones."""

    @property
    def held(self) -> tuple[Certificate, ...]:
        """Certificates that have been activated and not revoked since: at most one in each slot."""
        return tuple(one for one in (self.current, self.successor) if one is not None)

    @property
    def unheard_of(self) -> bool:
        """Whether the name has never been anybody's: it is claimed, and has never had a certificate."""
        return self.thing.status is ThingStatus.CLAIMED and self.epoch == 0

    def about(self, thing: Thing) -> "Dossier":
        """The same with another record."""
        return replace(self, thing=thing)

    def in_slot(self, slot: Slot) -> Certificate | None:
        """The certificate held in a slot."""
        return self.current if slot is Slot.CURRENT else self.successor

    def holding(self, slot: Slot, certificate: Certificate | None) -> "Dossier":
        """The same with another certificate in a slot, or none."""
        if slot is Slot.CURRENT:
            return replace(self, current=certificate)
        return replace(self, successor=certificate)


# ── things ────────────────────────────────────────────────────────────────────────────────────────────


def dossier_item(value: Dossier) -> Item:
    """Write a thing's item."""
    thing, grave = value.thing, value.grave
    return {
        "name": thing.name,
        "kind": thing.kind.value,
        **_standing(thing),
        "createdAt": to_ms(thing.created_at),
        "attributes": dict(thing.attributes),
        "group": thing.group,
        "type": thing.thing_type,
        "releaseUntil": _maybe_ms(thing.release_until),
        "epoch": value.epoch,
        "current": _held_item(value.current),
        "successor": _held_item(value.successor),
        "waiting": None if value.waiting is None else _waiting_item(value.waiting),
        "grave": None if grave is None else _standing(grave),
        "late": _maybe_ms(value.late),
    }


def dossier(item: Item) -> Dossier:
    """Read a thing's item."""
    thing = thing_of(item)
    waiting, grave = item.get("waiting"), item.get("grave")
    return Dossier(
        thing,
        item["epoch"],
        _held(item.get("current"), thing.name, Slot.CURRENT),
        _held(item.get("successor"), thing.name, Slot.SUCCESSOR),
        None if waiting is None else _waiting(waiting, thing.name),
        None if grave is None else _standing_as(thing, grave),
        _maybe_moment(item.get("late")),
    )


def thing_of(item: Item) -> Thing:
    """Read the record alone."""
    return Thing(
        ThingName(item["name"]),
        ThingStatus(item["status"]),
        KeyHash(item["key"]),
        from_ms(item["createdAt"]),
        item["attributes"],
        ThingKind(item["kind"]),
        _names(item.get("policies")),
        _maybe_moment(item.get("graceUntil")),
        _group(item),
        item.get("type"),
        _maybe_moment(item.get("releaseUntil")),
    )


def _standing(thing: Thing) -> Item:
    policies = None if thing.policies is None else list(thing.policies)
    facts = {"status": thing.status.value, "key": thing.key_hash, "policies": policies}
    return {**facts, "graceUntil": _maybe_ms(thing.grace_until)}


def _standing_as(thing: Thing, item: Item) -> Thing:
    """What a freed name's record falls back to: gone as before, but for what an operator has set since."""
    status, key = ThingStatus(item["status"]), KeyHash(item["key"])
    policies, grace = _names(item.get("policies")), _maybe_moment(item.get("graceUntil"))
    back = replace(thing, status=status, key_hash=key, policies=policies, grace_until=grace)
    return replace(back, release_until=None)


def _group(item: Item) -> GroupName | None:
    return None if item.get("group") is None else GroupName(item["group"])


def _names(names: Sequence[str] | None) -> tuple[PolicyName, ...] | None:
    return None if names is None else tuple(map(PolicyName, names))


def _held_item(one: Certificate | None) -> Item | None:
    if one is None:
        return None
    return {"id": one.id, "key": one.key_hash, "renews": one.renews, **_dates(one), **state(one)}


def _held(item: Item | None, thing: ThingName, slot: Slot) -> Certificate | None:
    if item is None:
        return None
    return _certificate({**item, "thing": thing, "der": b"", "slot": slot.value})


def _waiting_item(value: Waiting) -> Item:
    return {
        **intent_item(value.intent),
        "broughtKey": value.brought_key,
        "paid": list(value.paid),
        "charged": list(value.charged) or None,
        "rated": [list(one) for one in value.rated] or None,
        "staged": _held_item(value.staged),
        "leasedUntil": _maybe_ms(value.leased_until),
        "holder": value.holder,
        "clean": value.clean or None,
        "repoliced": value.repoliced or None,
    }


def _waiting(item: Item, thing: ThingName) -> Waiting:
    one = intent(item)
    return Waiting(
        one,
        item["broughtKey"],
        tuple(map(TokenId, item["paid"])),
        tuple(map(TokenId, item.get("charged") or ())),
        tuple((TokenId(account), until) for account, until in item.get("rated") or ()),
        _held(item.get("staged"), thing, one.slot),
        _maybe_moment(item.get("leasedUntil")),
        item.get("holder"),
        bool(item.get("clean")),
        bool(item.get("repoliced")),
    )


# ── certificates and intents ──────────────────────────────────────────────────────────────────────────


def certificate_item(one: Certificate, kind: ThingKind, made_for: IntentId) -> Item:
    """Write a certificate's item."""
    facts = {"id": one.id, "thing": one.thing, "kind": kind.value, "key": one.key_hash, "der": one.der}
    return {**facts, "intent": made_for, "renews": one.renews, **_dates(one), **state(one)}


def state(one: Certificate) -> Item:
    """What changes in a certificate's life."""
    return {"status": one.status.value, "slot": one.slot.value, "connectedAt": _maybe_ms(one.connected_at)}


def certificate(item: Item) -> Certificate:
    """Read a certificate's item."""
    return _certificate(item)


def _dates(one: Certificate) -> Item:
    return {"notBefore": to_ms(one.not_before), "notAfter": to_ms(one.not_after)}


def _certificate(item: Item) -> Certificate:
    return Certificate(
        CertificateId(item["id"]),
        ThingName(item["thing"]),
        KeyHash(item["key"]),
        item["der"],
        from_ms(item["notBefore"]),
        from_ms(item["notAfter"]),
        CertificateStatus(item["status"]),
        Slot(item["slot"]),
        _maybe_moment(item.get("connectedAt")),
        _renewed(item),
    )


def intent_item(one: Intent) -> Item:
    """Write what an intent says."""
    return {
        "id": one.id,
        "thing": one.thing,
        "key": one.key_hash,
        "token": one.token,
        "createdAt": to_ms(one.created_at),
        "serial": f"{one.serial:x}",
        "notBefore": to_ms(one.not_before),
        "notAfter": to_ms(one.not_after),
        "slot": one.slot.value,
        "renews": one.renews,
    }


def intent(item: Item) -> Intent:
    """Read what ``intent_item`` wrote."""
    return Intent(
        IntentId(item["id"]),
        ThingName(item["thing"]),
        KeyHash(item["key"]),
        TokenId(item["token"]),
        from_ms(item["createdAt"]),
        int(item["serial"], 16),
        from_ms(item["notBefore"]),
        from_ms(item["notAfter"]),
        Slot(item["slot"]),
        _renewed(item),
    )


def _renewed(item: Item) -> CertificateId | None:
    """The certificate whose key asked for this one."""
    return CertificateId(item["renews"]) if item.get("renews") is not None else None


# ── tokens and policies ───────────────────────────────────────────────────────────────────────────────


def token_item(value: EnrollmentToken) -> Item:
    """Write a token, with no use taken; of a group key without the key."""
    return {
        "digest": value.digest,
        "pattern": value.scope.pattern,
        "uses": value.uses,
        "taken": 0,
        "issuedAt": to_ms(value.issued_at),
        "expiresAt": to_ms(value.expires_at),
        "replace": value.replace,
        "withdrawnAt": _maybe_ms(value.withdrawn_at),
        "kind": value.kind.value,
        "policies": None if value.policies is None else list(value.policies),
        "group": value.group,
        "keyed": True if value.key is not None else None,
    }


def token_use(item: Item) -> TokenUse:
    """Read a token and how often it has been redeemed; of a group key as lists have it."""
    token = EnrollmentToken(
        TokenId(item["sk"]),
        item["digest"],
        NameScope(item["pattern"]),
        item.get("uses"),
        from_ms(item["issuedAt"]),
        from_ms(item["expiresAt"]),
        item["replace"],
        _maybe_moment(item.get("withdrawnAt")),
        ThingKind(item["kind"]),
        _names(item.get("policies")),
        _group(item),
        b"" if item.get("keyed") else None,
    )
    return TokenUse(token, item["taken"])


def policy_item(value: AccessPolicy) -> Item:
    """Write a policy."""
    return {
        "document": value.document.text,
        "version": value.version,
        "updatedAt": to_ms(value.updated_at),
        "shipped": value.shipped,
    }


def policy(item: Item) -> AccessPolicy:
    """Read a policy; a document that does not parse any more has no statements."""
    document = _parsed(item["document"]) or PolicyDocument((), item["document"])
    moment = from_ms(item["updatedAt"])
    return AccessPolicy(PolicyName(item["sk"]), document, moment, item["version"], item["shipped"])


def policy_in_force(item: Item) -> AccessPolicy | None:
    """The same for who decides by it: None where the document does not parse any more."""
    return None if _parsed(item["document"]) is None else policy(item)


def _parsed(text: str) -> PolicyDocument | None:
    # Here, because enrolling reads no policy: a function starts without the grammar.
    from keyborn.domain.access_policy.parse import parse_kept  # noqa: PLC0415

    return parse_kept(text)


# ── the trail ─────────────────────────────────────────────────────────────────────────────────────────


def audit_item(record: AuditRecord, event: str) -> Item:
    """Write a chained record; ``event`` is its canonical text."""
    return {"event": event, "previous": record.previous, "hash": record.hash}


def audit_record(item: Item) -> AuditRecord:
    """Read a chained record. Raises AuditBroken for an event that was not written by us."""
    sequence = int(item["sk"])
    try:
        return AuditRecord(sequence, parse_event(item["event"]), item["previous"], item["hash"])
    except ValueError:
        raise AuditBroken(sequence=sequence, detail="its event cannot be read") from None


def _maybe_ms(moment: datetime | None) -> int | None:
    return None if moment is None else to_ms(moment)


def _maybe_moment(milliseconds: Any | None) -> datetime | None:  # noqa: ANN401 - an attribute or nothing
    return None if milliseconds is None else from_ms(milliseconds)
