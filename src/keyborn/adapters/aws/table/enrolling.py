"""The operations of the enrolment saga: claim, store, activate. Each is one transaction where all goes well.

A claim guesses that name and key are free and that the token is good; the transaction's conditions are the
questions. For a new device that is one round trip. Where a guess was wrong the cancelled transaction brings
the items that stood in the way, and the same rules are applied to those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from keyborn.adapters.aws.table import filing, items, keys, leasing, outbox, paying
from keyborn.adapters.aws.table.draft import Draft, Key
from keyborn.adapters.aws.table.items import Dossier, Waiting
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import (
    Account,
    Attempt,
    Repeat,
    Standing,
    Verdict,
    claimed,
    decide,
    owed,
    staged,
)
from keyborn.domain.errors import EnrollmentInterrupted, RegistryUnavailable
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import ThingName
from keyborn.domain.renewal import RenewalAttempt
from keyborn.domain.thing import ThingKind, ThingStatus

# ── claim ─────────────────────────────────────────────────────────────────────────────────────────────


def fresh(attempt: Attempt) -> Mapping[Key, Item | None]:
    """The guess of a first attempt: nobody has the name or the key, and the token has a use left."""
    one = attempt.proposal
    nothing = [
        keys.thing(attempt.applicant.kind, attempt.thing),
        keys.name_guard(attempt.thing),
        keys.public_key(attempt.key),
        keys.intent(one.id),
        keys.serial(one.serial),
    ]
    return {**dict.fromkeys(nothing), **paying.guess(attempt)}


def claim(draft: Draft, attempt: Attempt, lease: timedelta, *, ours: bool) -> Verdict:
    """See ``Enrollments.claim``. ``ours``: the serial is ours to choose. Raises AtWork and NotLookedAt."""
    dossier = filing.dossier_of(draft, attempt.applicant.kind, attempt.thing)
    standing = _standing(draft, attempt, dossier)
    verdict = decide(standing, attempt)
    if isinstance(verdict, Repeat):
        return Repeat(with_der(draft, verdict.certificate))
    until = attempt.now + lease if lease else None
    bill = owed(standing, attempt)
    if not verdict.resumed:
        require_unused(draft, verdict.intent, ours=ours)
        _record(draft, dossier, attempt, verdict.intent, until, bill=bill)
    elif dossier is not None:
        _resume(draft, dossier, attempt, until, bill)
    return verdict


def with_der(draft: Draft, one: Certificate) -> Certificate:
    """A certificate of a dossier, whole."""
    item = draft.fixed(keys.certificate(one.id))
    return one if item is None else replace(one, der=item["der"])


def _standing(draft: Draft, attempt: Attempt, dossier: Dossier | None) -> Standing:
    draft.need(*paying.guess(attempt), keys.public_key(attempt.key))
    known, twin = (dossier, None) if dossier is not None else _namesake(draft, attempt.thing)
    owner, revoked = owner_of(draft, attempt, known)
    waiting = None if known is None else known.waiting
    return replace(
        paying.standing(draft, attempt),
        thing=None if known is None else known.thing,
        case_twin=twin,
        key_owner=owner,
        key_revoked=revoked,
        current=None if known is None else known.current,
        successor=None if known is None else known.successor,
        open_intent=None if waiting is None else waiting.intent,
    )


def _namesake(draft: Draft, name: ThingName) -> tuple[Dossier | None, ThingName | None]:
    """Who has a name that nobody of the applicant's kind has: one of the other kind, or in another case."""
    guard = draft.get(keys.name_guard(name))
    if guard is None:
        return None, None
    if guard["name"] != name:
        return None, ThingName(guard["name"])
    return filing.dossier_of(draft, ThingKind(guard["kind"]), name), None


def owner_of(
    draft: Draft, attempt: Attempt | RenewalAttempt, dossier: Dossier | None
) -> tuple[ThingName | None, bool]:
    """Whose the key is, and whether it is revoked: by itself, or with all that the name had in an epoch.

    ``dossier`` is that of the name asked for.
    """
    bound = draft.get(keys.public_key(attempt.key))
    if bound is None:
        return None, False
    owner = ThingName(bound["thing"])
    if owner != attempt.proposal.thing:
        dossier = filing.dossier_of(draft, ThingKind(bound["kind"]), owner)
    ended = dossier is not None and bound["epoch"] < dossier.epoch
    return owner, ended or bound["revoked"]


def require_unused(draft: Draft, one: Intent, *, ours: bool) -> None:
    """Ids are never used twice; nor are serials, unless another authority chooses them."""
    taken = draft.get(keys.intent(one.id)) is not None
    if ours:
        taken = draft.get(keys.serial(one.serial)) is not None or taken
        draft.put(keys.serial(one.serial), {"intent": one.id})
    if taken:
        raise RegistryUnavailable  # the next attempt draws another serial and id


def _record(
    draft: Draft,
    dossier: Dossier | None,
    attempt: Attempt,
    one: Intent,
    until: datetime | None,
    *,
    bill: Sequence[Account],
) -> None:
    """Write down the intent with everything it brings."""
    opened = _opened(draft, dossier, attempt, one.slot)
    waiting = waiting_for(draft, opened, attempt, one, until)
    waiting = paying.pay(draft, attempt, waiting, bill)
    before = None if dossier is None else dossier.thing
    filing.keep(draft, before, replace(opened, waiting=waiting), attempt.now)


def waiting_for(
    draft: Draft,
    opened: Dossier,
    attempt: Attempt | RenewalAttempt,
    one: Intent,
    until: datetime | None,
) -> Waiting:
    """A new open intent, written down, with its key bound: the file ``opened`` is to be kept with it."""
    waiting = _in_place_of(draft, opened, one, attempt.now)
    waiting = replace(waiting, leased_until=until, holder=leasing.holder_of(attempt) if until else None)
    bound = draft.peek(keys.public_key(attempt.key))
    if bound is None:
        binding = {"thing": one.thing, "kind": opened.thing.kind.value, "epoch": opened.epoch}
        draft.put(keys.public_key(attempt.key), {**binding, "revoked": False})
        waiting = replace(waiting, brought_key=True)
    facts = {**items.intent_item(one), "kind": opened.thing.kind.value}
    draft.put(keys.intent(one.id), facts)
    draft.write(keys.waiting(one), facts)
    return waiting


def _opened(draft: Draft, dossier: Dossier | None, attempt: Attempt, slot: Slot) -> Dossier:
    """The thing's file as it is with the claim: a new one, one that a replacement freed, or as it was.

    A replacement ends the release that permitted it.
    """
    if dossier is None:
        guard = {"name": attempt.thing, "kind": attempt.applicant.kind.value}
        draft.put(keys.name_guard(attempt.thing), guard)
        return Dossier(claimed(attempt))
    gone = dossier.thing
    if not gone.status.is_gone:
        return dossier if slot is Slot.CURRENT else dossier.about(replace(gone, release_until=None))
    return Dossier(claimed(attempt, gone), dossier.epoch, grave=gone)


def _in_place_of(draft: Draft, dossier: Dossier, new: Intent, at: datetime) -> Waiting:
    """``new`` in the place of an open intent, if there is one; what the same key brought, it keeps."""
    old = dossier.waiting
    if old is None:
        return Waiting(new, brought_key=False)
    filing.discard(draft, dossier.thing, old, at)
    if old.intent.key_hash == new.key_hash:
        return Waiting(new, old.brought_key, old.paid, old.charged, old.rated)
    paying.give_back(draft, old, at)
    if old.brought_key:
        filing.unbind(draft, old.intent.key_hash, at)
    return Waiting(new, brought_key=False)


def _resume(
    draft: Draft, dossier: Dossier, attempt: Attempt, until: datetime | None, bill: Sequence[Account]
) -> None:
    """Go on with a recorded intent: pay for it, and take the lease, if there are leases."""
    if dossier.waiting is None or not (bill or until):
        return
    leased = taken_over(draft, dossier, dossier.waiting, attempt, until)
    waiting = paying.pay(draft, attempt, leased, bill)
    filing.keep(draft, dossier.thing, replace(dossier, waiting=waiting), attempt.now)


def taken_over(
    draft: Draft,
    dossier: Dossier,
    waiting: Waiting,
    attempt: Attempt | RenewalAttempt,
    until: datetime | None,
) -> Waiting:
    """An open intent with its lease in other hands. Raises AtWork and NotLookedAt."""
    leasing.require_free(waiting, attempt.now)
    if waiting.leased_until is not None and waiting.staged is None:
        outbox.soil(draft, dossier.thing.kind, waiting, attempt.now)
    holder = leasing.holder_of(attempt) if until else None
    return replace(waiting, leased_until=until, holder=holder, clean=False)


# ── store ─────────────────────────────────────────────────────────────────────────────────────────────


def store(draft: Draft, one: Intent, kept: Certificate, holder: str | None = None) -> Certificate:
    """See ``Enrollments.store``; ``kept`` is as ``staged`` makes it. Raises LostLease for a late holder."""
    noted = draft.peek(keys.intent(one.id))
    if noted is None:
        found = filing.find(draft, one.thing)
        raise filing.interrupted(None if found is None else found.thing)
    dossier = filing.dossier_of(draft, ThingKind(noted["kind"]), one.thing)
    waiting = None if dossier is None else dossier.waiting
    if dossier is None or waiting is None or waiting.intent.id != one.id:
        return _winner(draft, noted, one)
    if waiting.staged is not None:
        return with_der(draft, waiting.staged)
    leasing.require_held(waiting, holder)
    if draft.get(keys.certificate(kept.id)) is not None:
        raise RegistryUnavailable
    draft.put(keys.certificate(kept.id), items.certificate_item(kept, dossier.thing.kind, one.id))
    draft.write((keys.certificates_of(one.thing), draft.stamp()), {"certificate": kept.id})
    draft.amend(keys.intent(one.id), {"certificate": kept.id}, filing.THERE)
    if waiting.repoliced:  # when nobody can give it the old ones any more
        outbox.owe_review(draft, dossier.thing, kept, waiting.leased_until or one.created_at)
    staged_now = replace(waiting, staged=replace(kept, der=b""), repoliced=False)
    filing.keep(draft, dossier.thing, replace(dossier, waiting=staged_now), one.created_at)
    return kept


def as_staged(one: Intent, certificate: Certificate, *, own_dates: bool) -> Certificate:
    """How a signed certificate is first kept. ``own_dates``: the authority chose the dates, not the intent.

    Raises ValueError if it is not the certificate that the intent wrote down.
    """
    if own_dates:
        one = replace(one, not_before=certificate.not_before, not_after=certificate.not_after)
    return staged(one, certificate)


def _winner(draft: Draft, noted: Item, one: Intent) -> Certificate:
    """What a closed intent came to."""
    won = _signed(draft, noted)
    if won is not None and won.status is not CertificateStatus.REVOKED:
        return won
    found = filing.find(draft, one.thing)
    raise filing.interrupted(None if found is None else found.thing)


def _signed(draft: Draft, noted: Item) -> Certificate | None:
    """The certificate stored for an intent, as its own item has it."""
    known = noted.get("certificate")
    item = None if known is None else draft.peek(keys.certificate(known))
    return None if item is None else items.certificate(item)


# ── activate ──────────────────────────────────────────────────────────────────────────────────────────


def activate(draft: Draft, one: IntentId, event: AuditEvent, holder: str | None = None) -> Certificate:
    """See ``Enrollments.activate``. The thing's item is read strongly: by the condition it is written on.

    Raises LostLease for a ``holder`` that came too late.
    """
    noted = draft.peek(keys.intent(one))
    signed = None if noted is None else _signed(draft, noted)
    if noted is None or signed is None:
        raise EnrollmentInterrupted
    dossier = filing.dossier_of(draft, ThingKind(noted["kind"]), ThingName(noted["thing"]))
    waiting = None if dossier is None else dossier.waiting
    if dossier is None or waiting is None or waiting.staged is None or waiting.intent.id != one:
        if signed.status is CertificateStatus.ACTIVE:
            return signed
        raise filing.interrupted(None if dossier is None else dossier.thing)
    if dossier.thing.status is ThingStatus.SUSPENDED:
        raise filing.interrupted(dossier.thing)
    leasing.require_held(waiting, holder)
    active = _activate(draft, dossier, waiting.staged, event)
    filing.close(draft, waiting, event.at)
    return replace(active, der=signed.der)


def _activate(draft: Draft, dossier: Dossier, kept: Certificate, event: AuditEvent) -> Certificate:
    """The certificate into its slot, and the thing active. AWS IoT is told by who calls this, not later."""
    before = dossier.thing
    dossier = _vacated(draft, dossier, kept, event.at)
    active = replace(kept, status=CertificateStatus.ACTIVE)
    draft.amend(keys.certificate(kept.id), items.state(active))
    thing = replace(before, status=ThingStatus.ACTIVE)
    late = None if dossier.waiting is None else dossier.waiting.leased_until
    after = replace(dossier.holding(kept.slot, active), thing=thing, waiting=None, grave=None, late=late)
    filing.line_up(draft, active)
    filing.keep(draft, before, after, event.at)
    filing.tell(draft, event)
    return active


def _vacated(draft: Draft, dossier: Dossier, kept: Certificate, at: datetime) -> Dossier:
    """Revoke what lies in the slot that ``kept`` is for; of a renewal the key ends by that, too."""
    gone = dossier.in_slot(kept.slot)
    if kept.slot is Slot.SUCCESSOR and gone is not None:
        if gone.renews is not None and gone.key_hash != kept.key_hash:
            return filing.withdraw(draft, dossier, at)
        filing.step_out(draft, gone, at)
    filing.revoke(draft, dossier.thing, gone, at)
    return dossier
