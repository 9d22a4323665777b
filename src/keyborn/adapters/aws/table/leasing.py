"""Leases: of all attempts at one intent a single one is at work, and the table takes no word of any other.

An attempt that fails gives its lease back. One that died does not: then the sweeper seizes the lease when it
is over, sees to it that nothing of that attempt is active in AWS IoT, and gives the intent back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from keyborn.adapters.aws.table import filing, outbox
from keyborn.adapters.aws.table.draft import Draft
from keyborn.adapters.aws.table.items import Dossier, Waiting
from keyborn.domain.enrollment import Attempt
from keyborn.domain.errors import EnrollmentInterrupted
from keyborn.domain.intent import IntentId
from keyborn.domain.renewal import RenewalAttempt

GRACE = timedelta(minutes=3)
"""How long an attempt that died may keep the next one waiting for the sweeper, which comes each minute."""


class AtWork(Exception):
    """Another process holds the lease on the intent that this attempt would resume."""


class NotLookedAt(Exception):
    """Who had the lease died; the sweeper has not looked yet whether a certificate of it is active."""


class LostLease(Exception):
    """The lease was over, and somebody took it: what this attempt was about is no longer its business."""


@contextmanager
def interrupted_if_lost() -> Iterator[None]:
    """Raise EnrollmentInterrupted in place of a LostLease inside the block."""
    try:
        yield
    except LostLease as lost:
        raise EnrollmentInterrupted from lost


def holder_of(attempt: Attempt | RenewalAttempt) -> str:
    """What tells an attempt from every other one: the id that it drew, whether or not it came to be used."""
    return attempt.proposal.id


def require_free(waiting: Waiting, at: datetime) -> None:
    """Raises AtWork and NotLookedAt.

    Who died may have left an active certificate that nobody knows: first the sweeper, then a new one.
    """
    if waiting.at_work(at):
        raise AtWork
    died = waiting.holder is not None and waiting.leased_until is not None and waiting.staged is None
    if died and waiting.leased_until is not None and at < waiting.leased_until + GRACE:
        raise NotLookedAt


def require_held(waiting: Waiting, holder: str | None) -> None:
    """Raises LostLease for an attempt whose lease somebody else has now, or gave back."""
    if waiting.holder != holder and holder is not None:
        raise LostLease


def seize(draft: Draft, one: IntentId, holder: str, at: datetime, until: datetime) -> Waiting | None:
    """Have the lease on an open intent: renew one's own, or take one that is over or was given back.

    None if the intent is not open, or somebody else is at work. Whoever had the lease can neither store nor
    activate from now on, not even by a transaction that is under way.
    """
    found = filing.opened(draft, one)
    if found is None:
        return None
    dossier, waiting = found
    own = waiting.holder == holder
    if not own and waiting.at_work(at):
        return None
    if not own and waiting.leased_until is not None and waiting.staged is None:
        outbox.soil(draft, dossier.thing.kind, waiting, at)
    until = max(until, waiting.leased_until or until)
    seized = replace(waiting, leased_until=until, holder=holder, clean=False)
    filing.keep(draft, dossier.thing, replace(dossier, waiting=seized), at)
    return seized


def release(draft: Draft, one: IntentId, holder: str, *, ended: datetime | None = None) -> bool:
    """Let the next attempt go on with an open intent at once, if ``holder`` has the lease; whether it had.

    ``ended`` is for the sweeper: when the lease was over that it seized. Nothing of that is active now.
    """
    found = _held(draft, one, holder)
    return found is not None and _free(draft, found, clean=ended is not None, until=ended)


def forgo(draft: Draft, one: IntentId, holder: str | None) -> bool:
    """As ``release``, by an attempt that has called nothing of AWS IoT: the sweeper need look for nothing.

    What earlier attempts may have left was written down when this one took the lease; what they stored is
    looked at once more.
    """
    found = _held(draft, one, holder)
    if found is None or found[1].staged is not None:
        return found is not None and _free(draft, found, clean=False, until=None)
    dossier, waiting = found
    return _free(draft, (dossier, replace(waiting, leased_until=None)), clean=True, until=None)


def _held(draft: Draft, one: IntentId, holder: str | None) -> tuple[Dossier, Waiting] | None:
    found = filing.opened(draft, one)
    return None if found is None or holder is None or found[1].holder != holder else found


def _free(draft: Draft, found: tuple[Dossier, Waiting], *, clean: bool, until: datetime | None) -> bool:
    dossier, waiting = found
    free = replace(waiting, holder=None, clean=clean, leased_until=until or waiting.leased_until)
    filing.keep(draft, dossier.thing, replace(dossier, waiting=free), waiting.intent.created_at)
    return True
