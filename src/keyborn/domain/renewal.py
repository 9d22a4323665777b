"""The rules of renewal: who may have a successor, what becomes of one that waits, who may confirm it.

Design PROTOCOL "Renew". Pure, as ``enrollment`` is: every registry gathers a ``RenewalStanding`` under its
own uniqueness guarantee and asks. When it is time to renew, ``renewal_date`` says.

A renewal's successor waits in the successor slot until it is confirmed by its own key. Connecting with it
changes nothing; a replacement's, in the same slot, takes over by that.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Issue, Repeat, Verdict
from keyborn.domain.errors import (
    CertificateExpired,
    CertificateNotActive,
    KeyInUse,
    KeyNotNew,
    KeyRevoked,
    RenewalPending,
    RenewalUnconfirmed,
    ReplacementPending,
    SignatureRefused,
    ThingRevoked,
)
from keyborn.domain.intent import Intent
from keyborn.domain.moment import shown
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.domain.thing import Thing, ThingStatus
from keyborn.domain.token import TokenId

OVERLAP = timedelta(days=7)
"""How long a successor may wait beside its predecessor; counted from the first moment of its validity."""
MAX_GRACE = timedelta(days=30)
"""The longest time for which an operator lets an expired certificate renew."""
NO_TOKEN = TokenId("")
"""What a renewal's intent has in the place of a token."""


@dataclass(frozen=True, slots=True)
class RenewalAttempt:
    """One request whose signature has been verified, with the intent it would like to record."""

    proposal: Intent
    """For the successor slot; ``renews`` is the certificate whose key signed."""
    now: datetime
    source: str = ""
    """Network address of the caller, for the audit trail."""

    @property
    def signer(self) -> CertificateId:
        """The certificate whose key signed; raises ValueError for an intent that is no renewal's."""
        if self.proposal.renews is None or self.proposal.slot is not Slot.SUCCESSOR:
            raise ValueError("the intent is not a renewal's")
        return self.proposal.renews

    @property
    def key(self) -> KeyHash:
        """The new key."""
        return self.proposal.key_hash


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A request to confirm whose signature, by the new key, has been verified."""

    signer: CertificateId
    now: datetime
    source: str = ""
    """Network address of the caller, for the audit trail."""


@dataclass(frozen=True, slots=True)
class RenewalStanding:
    """What the registry knows of the signer, its thing and the new key, read under one guarantee."""

    signer: Certificate | None = None
    thing: Thing | None = None
    """The signer's thing."""
    key_owner: ThingName | None = None
    """The thing that the new key is bound to."""
    key_revoked: bool = False
    """Whether the new key has a tombstone."""
    successor: Certificate | None = None
    """The certificate activated in the thing's successor slot and not revoked since."""
    open_intent: Intent | None = None
    """The thing's intent that has no active certificate yet, whatever its key and slot."""


def decide_renewal(standing: RenewalStanding, attempt: RenewalAttempt) -> Verdict:
    """Apply today's rules in order; raises the leaf of the error tree that names the first one broken.

    Where the verdict is an ``Issue`` that is not resumed, ``displaced`` says whom it displaces.
    """
    thing, signer = require_signer(standing.thing, standing.signer)
    _require_current(thing, signer)
    _require_dates(thing, signer, attempt.now)
    _require_no_replacement(standing, attempt.now)
    _require_new_key(standing, signer, attempt)
    waiting = standing.successor
    if waiting is not None and waiting.renews is not None and not waiting.expired(attempt.now):
        if waiting.key_hash == attempt.key:
            return Repeat(waiting)
        if waiting.connected_at is not None:
            raise RenewalPending(name=thing.name)
    return _resumed(standing.open_intent, attempt) or Issue(attempt.proposal)


def displaced(standing: RenewalStanding, intent: Intent) -> Certificate | None:
    """The renewal that ``intent`` takes the place of: to be revoked, its key to get a tombstone."""
    waiting = standing.successor
    if waiting is None or waiting.renews is None or waiting.key_hash == intent.key_hash:
        return None
    return waiting


def require_signer(thing: Thing | None, signer: Certificate | None) -> tuple[Thing, Certificate]:
    """Return both if this certificate may sign requests at all, whatever its dates and its slot.

    Raises SignatureRefused for none, ThingRevoked where its thing is suspended, revoked or retired, and
    CertificateNotActive.
    """
    if signer is None:
        raise SignatureRefused
    if thing is not None and (thing.status.is_gone or thing.status is ThingStatus.SUSPENDED):
        raise ThingRevoked(name=thing.name, status=thing.status.value)
    if thing is None or signer.status is not CertificateStatus.ACTIVE:
        raise CertificateNotActive(status=signer.status.value)
    return thing, signer


def _require_current(thing: Thing, signer: Certificate) -> None:
    if signer.slot is Slot.CURRENT:
        return
    remedy = "connect to the broker with it" if signer.renews is None else "confirm it first"
    raise RenewalUnconfirmed(name=thing.name, remedy=remedy)


def require_reporter(thing: Thing | None, signer: Certificate | None, now: datetime) -> Thing:
    """The thing, if what its certificate's key says of it counts.

    Raises what ``require_signer`` raises, and CertificateExpired.
    """
    thing, signer = require_signer(thing, signer)
    _require_dates(thing, signer, now, grace=False)
    return thing


def _require_dates(thing: Thing, signer: Certificate, now: datetime, *, grace: bool = True) -> None:
    """Inside its dates; past them only by grace."""
    if now < signer.not_before:
        raise CertificateNotActive(status=f"not valid before {shown(signer.not_before)}")
    granted = grace and thing.grace_until is not None and now <= thing.grace_until
    if signer.expired(now) and not granted:
        raise CertificateExpired(expired=shown(signer.not_after), name=thing.name)


def _require_no_replacement(standing: RenewalStanding, now: datetime) -> None:
    """What a person ordered comes first, until it has connected or expired."""
    waiting, recorded = standing.successor, standing.open_intent
    is_waiting = waiting is not None and waiting.renews is None and not waiting.expired(now)
    is_recorded = recorded is not None and recorded.renews is None and recorded.slot is Slot.SUCCESSOR
    if (is_waiting or is_recorded) and standing.thing is not None:
        raise ReplacementPending(name=standing.thing.name)


def _require_new_key(standing: RenewalStanding, signer: Certificate, attempt: RenewalAttempt) -> None:
    """Unknown, or that of this very renewal."""
    if attempt.key == signer.key_hash:
        raise KeyNotNew
    if standing.key_revoked:
        raise KeyRevoked
    if standing.key_owner is None:
        return
    if standing.key_owner != signer.thing:
        raise KeyInUse
    waiting = (standing.successor, standing.open_intent)
    if attempt.key not in {each.key_hash for each in waiting if each is not None}:
        raise KeyRevoked  # this thing had it once


def _resumed(waiting: Intent | None, attempt: RenewalAttempt) -> Issue | None:
    """An earlier attempt with this key that came half way; not one of a clock that was wrong."""
    if waiting is None or waiting.renews is None or waiting.key_hash != attempt.key:
        return None
    is_of_now = waiting.not_before <= attempt.now < waiting.not_after
    return Issue(waiting, resumed=True) if is_of_now else None


# ── confirmation, and its absence ─────────────────────────────────────────────────────────────────────


def retires_predecessor(thing: Thing | None, signer: Certificate | None, now: datetime) -> bool:
    """Whether confirming changes anything; where ``signer`` is current already, it does not.

    Raises what ``require_signer`` raises, CertificateExpired (there is no grace here: the predecessor has
    it), and RenewalUnconfirmed for a replacement, which takes over by connecting.
    """
    thing, signer = require_signer(thing, signer)
    if signer.slot is Slot.CURRENT:
        return False
    if signer.renews is None:
        _require_current(thing, signer)
    _require_dates(thing, signer, now, grace=False)
    return True


def is_spared(successor: Certificate, current: Certificate | None, now: datetime) -> bool:
    """Whether a successor is the only certificate with which its device can still connect.

    It has connected, and its predecessor has expired meanwhile: to withdraw it would strand the device.
    """
    proved = successor.renews is not None and successor.connected_at is not None
    return proved and not successor.expired(now) and (current is None or current.expired(now))
