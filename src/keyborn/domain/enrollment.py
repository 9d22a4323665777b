"""The rules of enrolment: what the registry knows plus one attempt gives one verdict.

Design PROTOCOL "Enroll", rules 1 to 6. Pure: every registry adapter gathers a ``Standing`` under its own
uniqueness guarantee (one transaction, or conditional writes) and asks ``decide``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from keyborn.domain.access_policy.attaching import after_replacement
from keyborn.domain.applicant import Applicant
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.csr import CertificateRequest
from keyborn.domain.errors import (
    CredentialRefused,
    GroupClosed,
    GroupFull,
    GroupKeyExpired,
    GroupKeyUsedUp,
    GroupRateExceeded,
    GroupUnknown,
    IdTokenExpired,
    IdTokenUsed,
    KeyInUse,
    KeyRevoked,
    NameNotPermitted,
    ReplacementPending,
    ThingNameCase,
    ThingNameTaken,
    ThingRevoked,
    TokenExhausted,
    TokenExpired,
)
from keyborn.domain.intent import Intent
from keyborn.domain.method import Method
from keyborn.domain.moment import shown
from keyborn.domain.names import KeyHash, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import TokenId

_EXPIRED = {Method.GROUP_KEY: GroupKeyExpired, Method.OIDC: IdTokenExpired}
_USED_UP = {Method.GROUP_KEY: GroupKeyUsedUp, Method.OIDC: IdTokenUsed}
"""What a credential is called that is no token: each says who makes a new one."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One authenticated, parsed request, with the intent it would like to record."""

    applicant: Applicant
    proposal: Intent
    now: datetime
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What a new thing is to carry; an existing one keeps its own."""
    request: CertificateRequest | None = field(default=None, repr=False)
    """What proved the key, for a registry that has it signed at once; None: its caller sees to that."""
    source: str = ""
    """Network address of the caller, for the audit trail."""
    proof: Mapping[str, str] = field(default_factory=dict)
    """What the audit trail says of the permission."""

    @property
    def thing(self) -> ThingName:
        """The name asked for."""
        return self.proposal.thing

    @property
    def key(self) -> KeyHash:
        """The key asked for."""
        return self.proposal.key_hash


@dataclass(frozen=True, slots=True)
class Standing:
    """What the registry knows about the attempt's name, key and token, read under one guarantee."""

    thing: Thing | None = None
    """The record of exactly this name, tombstones included (status revoked or retired)."""
    case_twin: ThingName | None = None
    """Another existing name that is equal after case folding."""
    key_owner: ThingName | None = None
    """The thing that this key is bound to."""
    key_revoked: bool = False
    """Whether the key has a tombstone."""
    current: Certificate | None = None
    """The certificate activated in the thing's current slot and not revoked since; its key is the thing's."""
    successor: Certificate | None = None
    """The certificate activated in the thing's successor slot and not revoked since."""
    open_intent: Intent | None = None
    """The thing's intent that has no active certificate yet, whatever its key and slot."""
    redeemed: bool = False
    """Whether the attempt's token has already been redeemed for this thing and this key."""
    uses_taken: int = 0
    """How many (thing, key) pairs have redeemed the token."""
    token_withdrawn: bool = False
    """Whether the token was withdrawn, perhaps after the caller authenticated, is not known at all although
    it has to be (``Applicant.is_known``), or is not the caller's (``Applicant.showed``)."""
    group_removed: bool = False
    """Whether the group of the applicant's terms is not there any more."""
    group_redeemed: bool = False
    """Whether the group's account has already been paid for this thing and this key."""
    group_taken: int = 0
    """How many (thing, key) pairs the group's account has."""
    rate_taken: int = 0
    """How many the account of the terms' rate has."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Rule 2: answer with the certificate that was already handed out."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Issue:
    """Rules 1, 3 and 4: record ``intent``, then sign it."""

    intent: Intent
    resumed: bool = False
    """True when an earlier attempt already recorded it: its contents are signed, not the new proposal's.

    A token that had not redeemed the pair yet still has to pay for it.
    """


Verdict = Repeat | Issue


@dataclass(frozen=True, slots=True)
class Granted:
    """What a registry answers that has the certificate signed itself: it is active, durable and audited."""

    certificate: Certificate
    repeated: bool
    """Whether it had been given before, or its contents had been written down before."""


Outcome = Verdict | Granted
"""What a claim comes to."""


@dataclass(frozen=True, slots=True)
class Account:
    """What enrolments are counted against: a credential, a group, a group's period."""

    id: TokenId
    limit: int | None
    """How many (thing, key) pairs may be charged to it; None is unlimited."""


def decide(standing: Standing, attempt: Attempt) -> Verdict:
    """Apply the rules in order; raises the leaf of the error tree that names the first rule broken."""
    _require_permission(standing, attempt)
    _require_free_key(standing, attempt)
    _require_free_name(standing, attempt)
    if standing.thing is None or standing.thing.status.is_gone:
        return _issue(standing, attempt, Slot.CURRENT)
    if standing.thing.key_hash == attempt.key:
        return _same_key(standing, attempt)
    return _other_key(standing, attempt)


def _require_permission(standing: Standing, attempt: Attempt) -> None:
    if standing.token_withdrawn:
        raise CredentialRefused
    if standing.group_removed and attempt.applicant.terms is not None:
        raise GroupUnknown(group=attempt.applicant.terms.group)
    if not standing.redeemed:
        _require_fresh(attempt)  # from here on, an expired token has redeemed exactly this thing and key
    if not attempt.applicant.scope.covers(attempt.thing):
        raise NameNotPermitted(name=attempt.thing)


def _require_free_key(standing: Standing, attempt: Attempt) -> None:
    if standing.key_revoked:
        raise KeyRevoked
    if standing.key_owner is not None and standing.key_owner != attempt.thing:
        raise KeyInUse


def _require_free_name(standing: Standing, attempt: Attempt) -> None:
    if standing.case_twin is not None:
        raise ThingNameCase(name=attempt.thing)
    thing = standing.thing
    if thing is None:
        return
    if thing.kind is not attempt.applicant.kind:
        # A device's name never becomes a service's, nor the reverse: no token helps.
        raise ThingNameTaken(name=thing.name, owner=f"a {thing.kind.value}", otherwise=".")
    freed = thing.status.is_gone and _may_replace(attempt)
    if (thing.status.is_gone and not freed) or thing.status is ThingStatus.SUSPENDED:
        raise ThingRevoked(name=thing.name, status=thing.status.value)


def _same_key(standing: Standing, attempt: Attempt) -> Verdict:
    held = standing.current
    if held is not None and held.key_hash == attempt.key and held.live(attempt.now):
        return _repeat(held, standing, attempt)
    return _issue(standing, attempt, Slot.CURRENT)


def _other_key(standing: Standing, attempt: Attempt) -> Verdict:
    released = standing.thing is not None and standing.thing.is_released(attempt.now)
    if not (_may_replace(attempt) or released or _has_begun(standing, attempt)):
        raise _taken(attempt)
    waiting = standing.successor
    if waiting is not None and waiting.renews is not None:
        waiting = None  # a person's word counts more than a renewal: this takes its place
    if waiting is not None and waiting.key_hash == attempt.key and waiting.live(attempt.now):
        return _repeat(waiting, standing, attempt)
    if _pending_keys(standing, attempt.now) - {attempt.key}:
        raise ReplacementPending(name=attempt.thing)
    return _issue(standing, attempt, Slot.SUCCESSOR)


def _taken(attempt: Attempt) -> ThingNameTaken:
    """Another key has the name: say what gives the permission to replace it."""
    remedy = f"for a replacement token: keyborn token create --thing {attempt.thing} --replace"
    if attempt.applicant.kind is ThingKind.SERVICE:
        remedy = f"to replace it: keyborn service add {attempt.thing} --policy FILE --replace"
    otherwise = f", or ask the operator {remedy}"
    return ThingNameTaken(name=attempt.thing, owner="another key", otherwise=otherwise)


def _may_replace(attempt: Attempt) -> bool:
    """Replacement is a permission for one name; a glob never gives it, whatever its token says."""
    applicant = attempt.applicant
    return applicant.may_replace and applicant.bound_to == attempt.thing


def _has_begun(standing: Standing, attempt: Attempt) -> bool:
    """Whether this replacement was permitted before, by a release that its claim has ended: it goes on.

    Only for who has paid for it; a lost answer must not cost the operator another release.
    """
    paid = standing.redeemed or standing.group_redeemed
    return paid and attempt.key in _pending_keys(standing, attempt.now)


def _pending_keys(standing: Standing, now: datetime) -> set[KeyHash]:
    """Keys that wait to replace this name's. A successor that expired unused waits no longer."""
    waiting, recorded = standing.successor, standing.open_intent
    if waiting is not None and (waiting.renews is not None or waiting.expired(now)):
        waiting = None
    if recorded is not None and recorded.renews is not None:
        recorded = None
    return {each.key_hash for each in (waiting, recorded) if each is not None}


def _repeat(held: Certificate, standing: Standing, attempt: Attempt) -> Repeat:
    """An expired token may repeat its own answer until the device has first connected: it may be lost."""
    if held.connected_at is not None:
        _require_fresh(attempt)
    _require_use(standing, attempt)
    return Repeat(held)


def _issue(standing: Standing, attempt: Attempt, slot: Slot) -> Issue:
    """A recorded intent is resumed, even past the expiry of the token that recorded it.

    One whose dates are not now comes from a clock that was wrong: a new one takes its place.
    """
    waiting = standing.open_intent
    resumable = (
        waiting is not None
        and waiting.key_hash == attempt.key
        and waiting.renews is None
        and waiting.not_before <= attempt.now < waiting.not_after
    )
    if not resumable:
        _require_fresh(attempt)
    _require_use(standing, attempt)
    if resumable and waiting is not None:
        return Issue(waiting, resumed=True)
    proposal = attempt.proposal
    return Issue(proposal if proposal.slot is slot else replace(proposal, slot=slot))


def claimed(attempt: Attempt, gone: Thing | None = None) -> Thing:
    """The record that a claim makes: of a name that nobody had, or of one that a replacement frees."""
    applicant = attempt.applicant
    if gone is not None:
        policies = after_replacement(gone, applicant.policies)
        return replace(
            gone, status=ThingStatus.CLAIMED, key_hash=attempt.key, policies=policies, release_until=None
        )
    terms = applicant.terms
    return Thing(
        attempt.thing,
        ThingStatus.CLAIMED,
        attempt.key,
        attempt.now,
        dict(attempt.attributes),
        applicant.kind,
        applicant.policies,
        group=None if terms is None else terms.group,
        thing_type=None if terms is None else terms.thing_type,
    )


def staged(intent: Intent, certificate: Certificate) -> Certificate:
    """How a signed certificate is first kept: inactive, in its intent's slot, never connected.

    Raises ValueError if it is not the certificate that the intent wrote down.
    """
    wanted = (intent.thing, intent.key_hash, intent.not_before, intent.not_after)
    if (certificate.thing, certificate.key_hash, certificate.not_before, certificate.not_after) != wanted:
        raise ValueError("the certificate is not what its intent says")
    first = (CertificateStatus.INACTIVE, intent.slot, None, intent.renews)
    if (certificate.status, certificate.slot, certificate.connected_at, certificate.renews) == first:
        return certificate
    status, slot, connected_at, renews = first
    return replace(certificate, status=status, slot=slot, connected_at=connected_at, renews=renews)


def _require_fresh(attempt: Attempt) -> None:
    require_fresh(attempt.applicant, attempt.now)


def require_fresh(applicant: Applicant, now: datetime) -> None:
    """Raise GroupClosed, or what an expired credential is called: nothing new is begun any more."""
    if applicant.terms is not None and applicant.terms.closed(now):
        closes = applicant.terms.closes
        raise GroupClosed(group=applicant.terms.group, closes=closes and shown(closes))
    if not applicant.fresh(now):
        expired = applicant.expires_at
        raise _EXPIRED.get(applicant.method, TokenExpired)(expired=expired and shown(expired))


def _require_use(standing: Standing, attempt: Attempt) -> None:
    uses, terms = attempt.applicant.uses, attempt.applicant.terms
    if not standing.redeemed and uses is not None and standing.uses_taken >= uses:
        raise _USED_UP.get(attempt.applicant.method, TokenExhausted)
    if terms is None or standing.group_redeemed:
        return
    if terms.limit is not None and standing.group_taken >= terms.limit:
        raise GroupFull(group=terms.group)
    if terms.rate is not None and standing.rate_taken >= terms.rate.limit:
        left = (terms.rate.ends_at - attempt.now).total_seconds()
        raise GroupRateExceeded(group=terms.group, seconds=max(1, math.ceil(left)))


def owed(standing: Standing, attempt: Attempt) -> tuple[Account, ...]:
    """What an ``Issue`` still has to pay for: each account is charged with the thing and the key, once."""
    applicant, terms = attempt.applicant, attempt.applicant.terms
    accounts = () if standing.redeemed else (Account(applicant.token, applicant.uses),)
    if terms is None or standing.group_redeemed:
        return accounts
    rate = () if terms.rate is None else (Account(terms.rate.account, terms.rate.limit),)
    return (*accounts, Account(terms.account, terms.limit), *rate)
