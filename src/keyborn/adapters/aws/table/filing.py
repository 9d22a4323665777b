"""What several operations share: finding a thing's item, keeping it, and undoing an open intent.

Whatever belongs to a thing (certificates, keys, redemptions, rows of lists) is only ever changed together
with the thing's own item, which is written over just the one that was read. So those need no conditions of
their own.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from keyborn.adapters.aws.table import items, keys, outbox, paying
from keyborn.adapters.aws.table.draft import Draft
from keyborn.adapters.aws.table.items import Dossier, Waiting
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.audit import AuditEvent, canonical
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.errors import EnrollmentInterrupted, NotFound, ThingRevoked
from keyborn.domain.intent import IntentId
from keyborn.domain.names import KeyHash, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus

INTENT_DAYS = 30
"""How long a closed intent is remembered: a stray certificate is matched with it."""
SIGNED_FOR = timedelta(minutes=5)
"""How long AWS takes a request that was signed (IAM User Guide, "AWS API request signatures")."""
THERE = "attribute_exists(#pk)"

# ── finding ───────────────────────────────────────────────────────────────────────────────────────────


def dossier_of(draft: Draft, kind: ThingKind, name: ThingName) -> Dossier | None:
    """A thing of a known kind."""
    item = draft.peek(keys.thing(kind, name))
    return None if item is None else items.dossier(item)


def find(draft: Draft, name: ThingName) -> Dossier | None:
    """A thing of either kind."""
    draft.need(*(keys.thing(kind, name) for kind in ThingKind))
    found = (dossier_of(draft, kind, name) for kind in ThingKind)
    return next((one for one in found if one is not None), None)


def opened(draft: Draft, one: IntentId) -> tuple[Dossier, Waiting] | None:
    """The file of the thing whose open intent this is; None if it is not open."""
    noted = draft.peek(keys.intent(one))
    if noted is None:
        return None
    dossier = dossier_of(draft, ThingKind(noted["kind"]), ThingName(noted["thing"]))
    waiting = None if dossier is None else dossier.waiting
    if dossier is None or waiting is None or waiting.intent.id != one:
        return None
    return dossier, waiting


def known(draft: Draft, name: ThingName) -> Dossier:
    """A thing that must be there; raises NotFound."""
    found = find(draft, name)
    if found is None:
        raise NotFound(what="thing", name=name)
    return found


def interrupted(thing: Thing | None) -> ThingRevoked | EnrollmentInterrupted:
    """Why an enrolment cannot go on."""
    if thing is not None and (thing.status.is_gone or thing.status is ThingStatus.SUSPENDED):
        return ThingRevoked(name=thing.name, status=thing.status.value)
    return EnrollmentInterrupted()


# ── keeping ───────────────────────────────────────────────────────────────────────────────────────────


def keep(draft: Draft, before: Thing | None, after: Dossier, at: datetime) -> None:
    """Write a thing's item, and the lists of who has which policy."""
    thing = after.thing
    draft.put(keys.thing(thing.kind, thing.name), items.dossier_item(after))
    _follow(draft, thing.name, before, thing, at)


def forget(draft: Draft, thing: Thing, at: datetime) -> None:
    """Free a name that came to nothing."""
    draft.void(keys.thing(thing.kind, thing.name), at, relies=True)
    draft.void(keys.name_guard(thing.name), at)
    _follow(draft, thing.name, thing, None, at)


def _follow(draft: Draft, name: ThingName, before: Thing | None, after: Thing | None, at: datetime) -> None:
    had, has = _named(before), _named(after)
    for policy in has - had:
        draft.write((keys.users_of(policy), name), {})
    for policy in had - has:
        draft.void((keys.users_of(policy), name), at)


def _named(thing: Thing | None) -> set[PolicyName]:
    return set() if thing is None or thing.policies is None else set(thing.policies)


def tell(draft: Draft, event: AuditEvent) -> None:
    """Put an event where the chain will find it."""
    draft.write((keys.EVENTS, draft.stamp()), {"event": canonical(event)})


def mark(
    draft: Draft, thing: Thing, one: Certificate, status: CertificateStatus, at: datetime
) -> Certificate:
    """Give a certificate another status, here and, by the outbox, in AWS IoT."""
    changed = replace(one, status=status)
    draft.amend(keys.certificate(one.id), items.state(changed))
    outbox.owe_status(draft, thing, changed, at)
    return changed


def mark_again(draft: Draft, thing: Thing, changed: Certificate, at: datetime, late: datetime | None) -> None:
    """Tell AWS IoT once more when whoever enrolled is at its end, and when nothing of that can take effect.

    Lambda freezes an instance that has answered, with what it was about to send.
    """
    for due in () if late is None else (late, late + SIGNED_FOR):
        if due > at:
            outbox.owe_status(draft, thing, changed, due)


def revoke(draft: Draft, thing: Thing, one: Certificate | None, at: datetime) -> None:
    """The same for good; None is nothing to revoke."""
    if one is not None:
        mark(draft, thing, one, CertificateStatus.REVOKED, at)


# ── successors ────────────────────────────────────────────────────────────────────────────────────────


def line_up(draft: Draft, one: Certificate) -> None:
    """A certificate waits beside its predecessor from now on: the sweeper sees for how long."""
    if one.slot is Slot.SUCCESSOR:
        draft.write(keys.successor(one), {"thing": one.thing, "certificate": one.id})


def step_out(draft: Draft, one: Certificate | None, at: datetime) -> None:
    """It does not wait any more; None is nothing that waited."""
    if one is not None and one.slot is Slot.SUCCESSOR:
        draft.void(keys.successor(one), at)


def bury(draft: Draft, key: KeyHash) -> None:
    """Give a key its tombstone."""
    draft.amend(keys.public_key(key), {"revoked": True}, THERE)


def withdraw(draft: Draft, dossier: Dossier, at: datetime) -> Dossier:
    """Take the successor out of its slot for good, and its key with it."""
    gone = dossier.successor
    if gone is None:
        return dossier
    revoked = mark(draft, dossier.thing, gone, CertificateStatus.REVOKED, at)
    mark_again(draft, dossier.thing, revoked, at, dossier.late)
    step_out(draft, gone, at)
    bury(draft, gone.key_hash)
    return replace(dossier, successor=None)


# ── undoing ───────────────────────────────────────────────────────────────────────────────────────────


def close(draft: Draft, waiting: Waiting, at: datetime) -> None:
    """Take an intent off the list of open ones."""
    until = at + timedelta(days=INTENT_DAYS)
    draft.amend(keys.intent(waiting.intent.id), {"ttl": int(until.timestamp())})
    draft.void(keys.waiting(waiting.intent), at)


def discard(draft: Draft, thing: Thing, waiting: Waiting, at: datetime) -> None:
    """Close an intent that came to nothing; what was signed for it is revoked, or looked for."""
    close(draft, waiting, at)
    if waiting.staged is None:
        outbox.soil(draft, thing.kind, waiting, at)
    else:
        revoked = mark(draft, thing, waiting.staged, CertificateStatus.REVOKED, at)
        mark_again(draft, thing, revoked, at, waiting.leased_until)


def undo(draft: Draft, dossier: Dossier, at: datetime) -> Dossier | None:
    """Undo the open intent and all it brought: what is left of the thing, or None if nothing is."""
    waiting, thing = dossier.waiting, dossier.thing
    if waiting is None:
        return dossier
    discard(draft, thing, waiting, at)
    paying.give_back(draft, waiting, at)
    if thing.status is not ThingStatus.CLAIMED:
        if waiting.brought_key and waiting.intent.key_hash != thing.key_hash:
            unbind(draft, waiting.intent.key_hash, at)
        return replace(dossier, waiting=None)
    for key in sorted({thing.key_hash, waiting.intent.key_hash}):
        unbind(draft, key, at)
    return None if dossier.grave is None else Dossier(dossier.grave, dossier.epoch)


def unbind(draft: Draft, key: KeyHash, at: datetime) -> None:
    """Free a key."""
    draft.void(keys.public_key(key), at)
