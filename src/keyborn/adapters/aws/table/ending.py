"""The operations after enrolment: suspend, revoke, retire; the first connection; the sweeper's drop."""

from dataclasses import replace
from datetime import datetime

from keyborn.adapters.aws.table import filing, items, keys
from keyborn.adapters.aws.table.draft import Draft
from keyborn.adapters.aws.table.items import Dossier
from keyborn.domain.audit import AuditEvent, succession
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.errors import NotFound
from keyborn.domain.intent import IntentId
from keyborn.domain.lifecycle import moves
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus

# ── the operator's orders ─────────────────────────────────────────────────────────────────────────────


def set_status(draft: Draft, name: ThingName, status: ThingStatus, event: AuditEvent) -> Thing:
    """See ``Lifecycle.set_status``. The keys of an ended thing end with its epoch."""
    before = filing.known(draft, name)
    if not moves(before.thing, status):
        return before.thing
    if status.is_gone:
        after = _ended(draft, before, status, event.at)
    elif status is ThingStatus.SUSPENDED:
        after = _switched(draft, before, status, CertificateStatus.INACTIVE, event.at)
        _suspend_staged(draft, before, event.at)
    else:
        back = ThingStatus.ACTIVE if before.held else ThingStatus.CLAIMED
        after = _switched(draft, before, back, CertificateStatus.ACTIVE, event.at)
    filing.keep(draft, before.thing, after, event.at)
    filing.tell(draft, event)
    return after.thing


def _switched(
    draft: Draft, before: Dossier, status: ThingStatus, certificates: CertificateStatus, at: datetime
) -> Dossier:
    after = replace(before, thing=replace(before.thing, status=status))
    for one in before.held:
        changed = filing.mark(draft, before.thing, one, certificates, at)
        filing.mark_again(draft, before.thing, changed, at, before.late)
        after = after.holding(one.slot, changed)
    return after


def _suspend_staged(draft: Draft, before: Dossier, at: datetime) -> None:
    """What is about to become active may be so in AWS IoT already, or be made so by who is at work."""
    waiting = before.waiting
    if waiting is None or waiting.staged is None:
        return
    off = filing.mark(draft, before.thing, waiting.staged, CertificateStatus.INACTIVE, at)
    filing.mark_again(draft, before.thing, off, at, waiting.leased_until)


def _ended(draft: Draft, before: Dossier, status: ThingStatus, at: datetime) -> Dossier:
    if before.waiting is not None:
        filing.discard(draft, before.thing, before.waiting, at)
    for one in before.held:
        revoked = filing.mark(draft, before.thing, one, CertificateStatus.REVOKED, at)
        filing.mark_again(draft, before.thing, revoked, at, before.late)
        filing.step_out(draft, one, at)
    ended = replace(before.thing, status=status, grace_until=None, release_until=None)
    return Dossier(ended, before.epoch + 1)


# ── the first connection ──────────────────────────────────────────────────────────────────────────────


def connected(draft: Draft, certificate: CertificateId, at: datetime) -> Certificate:
    """See ``DeviceDirectory.connected``."""
    item = draft.peek(keys.certificate(certificate))
    if item is None:
        raise NotFound(what="certificate", name=certificate)
    known = items.certificate(item)
    dossier = filing.dossier_of(draft, ThingKind(item["kind"]), known.thing)
    held = () if dossier is None else tuple(one for one in dossier.held if one.id == certificate)
    if dossier is None or not held:
        return known
    seen = replace(held[0], der=known.der)
    if not seen.live(at) or seen.connected_at is not None:
        return seen
    return replace(_met(draft, dossier, replace(held[0], connected_at=at), at), der=known.der)


def _met(draft: Draft, dossier: Dossier, met: Certificate, at: datetime) -> Certificate:
    before = dossier.thing
    if met.slot is Slot.SUCCESSOR and met.renews is None:
        dossier, met = promote(draft, dossier, met, at)
        filing.tell(draft, succession(met, before.key_hash, at))
    draft.amend(keys.certificate(met.id), items.state(met))
    filing.keep(draft, before, dossier.holding(met.slot, met), at)
    return met


def promote(draft: Draft, dossier: Dossier, met: Certificate, at: datetime) -> tuple[Dossier, Certificate]:
    """The successor takes over; its predecessor's certificate and key are revoked. Its item is not written.

    The file that is returned has nobody in the successor slot, and the predecessor in the current one still.
    """
    thing = dossier.thing
    if dossier.waiting is not None and dossier.waiting.intent.slot is Slot.CURRENT:
        # It would bring back the key that retires here. An active thing is never forgotten by that.
        dossier = filing.undo(draft, dossier, at) or dossier
    filing.revoke(draft, thing, dossier.current, at)
    filing.step_out(draft, met, at)
    filing.bury(draft, thing.key_hash)
    promoted = replace(met, slot=Slot.CURRENT)
    after = replace(dossier, thing=replace(thing, key_hash=met.key_hash), successor=None)
    return after, promoted


# ── the sweeper ───────────────────────────────────────────────────────────────────────────────────────


def drop(draft: Draft, intent: IntentId, event: AuditEvent) -> bool:
    """See ``Leftovers.drop``."""
    found = filing.opened(draft, intent)
    if found is None:
        return False
    dossier, _ = found
    after = filing.undo(draft, dossier, event.at)
    if after is None:
        filing.forget(draft, dossier.thing, event.at)
    else:
        filing.keep(draft, dossier.thing, after, event.at)
    filing.tell(draft, event)
    return True
