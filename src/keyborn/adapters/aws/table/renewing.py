"""The operations of renewal: a successor on the word of the key before it, its confirmation, its withdrawal.

What a renewal relies on is the thing's own item: which certificates are in force, and what is open. The
signer's item only says whose it is, which never changes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from keyborn.adapters.aws.table import ending, enrolling, filing, items, keys
from keyborn.adapters.aws.table.draft import Draft
from keyborn.adapters.aws.table.items import Dossier
from keyborn.adapters.aws.table.table import Table
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.audit import AuditEvent, succession, withdrawal
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.enrollment import Repeat, Verdict
from keyborn.domain.errors import SignatureRefused
from keyborn.domain.lifecycle import require_here
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import (
    Confirmation,
    RenewalAttempt,
    RenewalStanding,
    decide_renewal,
    displaced,
    is_spared,
    retires_predecessor,
)
from keyborn.domain.thing import Thing, ThingKind

_ALL = 10**9
_TOGETHER = 50
"""Successors that are looked at together."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a step of a renewal came to, and the certificate that it took out of force."""

    verdict: Verdict
    withdrawn: CertificateId | None = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The certificate in force, and its predecessor if this very step has retired it."""

    certificate: Certificate
    retired: CertificateId | None = None


# ── renew ─────────────────────────────────────────────────────────────────────────────────────────────


def renew(draft: Draft, attempt: RenewalAttempt, lease: timedelta, *, ours: bool) -> Renewed:
    """See ``Renewals.renew``. ``ours``: the serial is ours to choose. Raises AtWork and NotLookedAt."""
    one = attempt.proposal
    draft.need(keys.public_key(attempt.key), keys.intent(one.id), *_of_signer(attempt.signer, one.thing))
    signer, dossier = _signer(draft, attempt.signer)
    standing = _standing(draft, attempt, signer, dossier)
    verdict = decide_renewal(standing, attempt)
    if isinstance(verdict, Repeat):
        return Renewed(Repeat(enrolling.with_der(draft, verdict.certificate)))
    assert dossier is not None, "the rules have refused it"
    until = attempt.now + lease if lease else None
    if verdict.resumed:
        _resume(draft, dossier, attempt, until)
        return Renewed(verdict)
    enrolling.require_unused(draft, verdict.intent, ours=ours)
    gone = displaced(standing, verdict.intent)
    opened = _made_room(draft, dossier, attempt, gone)
    waiting = enrolling.waiting_for(draft, opened, attempt, verdict.intent, until)
    filing.keep(draft, dossier.thing, replace(opened, waiting=waiting), attempt.now)
    return Renewed(verdict, None if gone is None else gone.id)


def _of_signer(certificate: CertificateId, name: ThingName) -> list[tuple[str, str]]:
    """What is read of a signer, at once; ``name`` is what its certificate says."""
    return [keys.certificate(certificate), *(keys.thing(kind, name) for kind in ThingKind)]


def _signer(draft: Draft, certificate: CertificateId) -> tuple[Certificate | None, Dossier | None]:
    """A certificate as its thing's file has it, and the file; as far as there are such.

    One that is not in the file any more is revoked, or was never active: if its item says otherwise, the two
    were not read at one moment, and nothing can rest on them.
    """
    item = draft.peek(keys.certificate(certificate))
    if item is None:
        return None, None
    known = items.certificate(item)
    dossier = filing.dossier_of(draft, ThingKind(item["kind"]), known.thing)
    for held in () if dossier is None else dossier.held:
        if held.id == certificate:
            return replace(held, der=known.der), dossier
    if known.status is CertificateStatus.ACTIVE:
        known = replace(known, status=CertificateStatus.REVOKED)
    return known, dossier


def _standing(
    draft: Draft, attempt: RenewalAttempt, signer: Certificate | None, dossier: Dossier | None
) -> RenewalStanding:
    if signer is None:
        return RenewalStanding()
    owner, revoked = enrolling.owner_of(draft, attempt, dossier)
    waiting = None if dossier is None else dossier.waiting
    return RenewalStanding(
        signer=signer,
        thing=None if dossier is None else dossier.thing,
        key_owner=owner,
        key_revoked=revoked,
        successor=None if dossier is None else dossier.successor,
        open_intent=None if waiting is None else waiting.intent,
    )


def _made_room(draft: Draft, dossier: Dossier, attempt: RenewalAttempt, gone: Certificate | None) -> Dossier:
    """The file without a renewal whose place another one takes."""
    if gone is None:
        return dossier
    filing.tell(draft, withdrawal(gone, attempt.now, attempt.signer, "another key", attempt.source))
    return filing.withdraw(draft, dossier, attempt.now)


def _resume(draft: Draft, dossier: Dossier, attempt: RenewalAttempt, until: datetime | None) -> None:
    """Go on with a recorded intent: take the lease, if there are leases."""
    if dossier.waiting is not None and until is not None:
        leased = enrolling.taken_over(draft, dossier, dossier.waiting, attempt, until)
        filing.keep(draft, dossier.thing, replace(dossier, waiting=leased), attempt.now)


# ── confirm ───────────────────────────────────────────────────────────────────────────────────────────


def confirm(draft: Draft, confirmation: Confirmation) -> Confirmed:
    """See ``Renewals.confirm``."""
    signer, dossier = _signer(draft, confirmation.signer)
    thing = None if dossier is None else dossier.thing
    changes = retires_predecessor(thing, signer, confirmation.now)
    if signer is None or dossier is None:
        raise SignatureRefused  # never: the rules have refused it
    if not changes:
        return Confirmed(signer)
    before, at = dossier.thing, confirmation.now
    after, promoted = ending.promote(draft, dossier, signer, at)
    draft.amend(keys.certificate(promoted.id), items.state(promoted))
    filing.keep(draft, before, after.holding(promoted.slot, promoted), at)
    told = succession(promoted, before.key_hash, at, action="renew.confirm", source=confirmation.source)
    filing.tell(draft, told)
    return Confirmed(promoted, None if dossier.current is None else dossier.current.id)


# ── what waited too long, and grace ───────────────────────────────────────────────────────────────────


def overdue(table: Table, before: datetime, at: datetime, limit: int) -> Sequence[Certificate]:
    """See ``Successors.overdue``."""
    return list(islice(_overdue(table, before, at), limit))


def _overdue(table: Table, before: datetime, at: datetime) -> Iterator[Certificate]:
    rows = table.query(keys.SUCCESSORS, before=keys.sortable(before), limit=_ALL)
    while page := list(islice(rows, _TOGETHER)):
        yield from _waiting_still(table, page, at)


def _waiting_still(table: Table, rows: Sequence[Item], at: datetime) -> Iterator[Certificate]:
    """Those of these rows that wait, and that may be withdrawn."""
    wanted = {CertificateId(row["certificate"]): ThingName(row["thing"]) for row in rows}
    certificates = table.get_many(map(keys.certificate, wanted))
    kinds = {one: ThingKind(item["kind"]) for one in wanted if (item := certificates[keys.certificate(one)])}
    files = table.get_many(keys.thing(kind, wanted[one]) for one, kind in kinds.items())
    for one, kind in kinds.items():
        found, file = certificates[keys.certificate(one)], files[keys.thing(kind, wanted[one])]
        dossier = None if file is None else items.dossier(file)
        if found is not None and dossier is not None and _may_withdraw(dossier, one, at):
            yield items.certificate(found)


def _may_withdraw(dossier: Dossier, certificate: CertificateId, at: datetime) -> bool:
    waiting = dossier.successor
    is_it = waiting is not None and waiting.id == certificate
    return is_it and waiting is not None and not is_spared(waiting, dossier.current, at)


def withdraw(draft: Draft, certificate: CertificateId, event: AuditEvent) -> bool:
    """See ``Successors.withdraw_successor``."""
    item = draft.peek(keys.certificate(certificate))
    if item is None:
        return False
    dossier = filing.dossier_of(draft, ThingKind(item["kind"]), ThingName(item["thing"]))
    if dossier is None or not _may_withdraw(dossier, certificate, event.at):
        return False
    filing.keep(draft, dossier.thing, filing.withdraw(draft, dossier, event.at), event.at)
    filing.tell(draft, event)
    return True


def set_grace(draft: Draft, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
    """See ``Grace.set_grace``."""
    before = filing.known(draft, name)
    require_here(before.thing)
    if before.thing.grace_until == until:
        return before.thing
    after = replace(before.thing, grace_until=until)
    filing.keep(draft, before.thing, before.about(after), event.at)
    filing.tell(draft, event)
    return after
