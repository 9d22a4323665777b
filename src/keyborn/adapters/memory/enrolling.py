"""The enrolment saga in memory: the effects of ``ports.Enrollments``."""

from dataclasses import replace

from keyborn.adapters.memory.state import State
from keyborn.domain.applicant import Applicant
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Attempt, Issue, Standing, Verdict, claimed, decide, owed, staged
from keyborn.domain.errors import EnrollmentInterrupted, RegistryUnavailable, ThingRevoked
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import ThingName, fold_name
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import EnrollmentToken


def claim(state: State, attempt: Attempt) -> Verdict:
    """See ``Enrollments.claim``."""
    standing = _standing(state, attempt)
    verdict = decide(standing, attempt)
    if not isinstance(verdict, Issue):
        return verdict
    if not verdict.resumed:
        _record(state, standing, attempt, verdict.intent)
    pair = (attempt.thing, attempt.key)
    for account in owed(standing, attempt):
        state.redemptions.setdefault(account.id, {})[pair] = verdict.intent.id
    return verdict


def _standing(state: State, attempt: Attempt) -> Standing:
    existing = state.folded.get(fold_name(attempt.thing))
    same = existing == attempt.thing
    bound = state.keys.get(attempt.key)
    token = state.tokens.get(attempt.applicant.token)
    pairs, terms = state.redemptions.get(attempt.applicant.token, {}), attempt.applicant.terms
    members = state.redemptions.get(terms.account, {}) if terms else {}
    lately = state.redemptions.get(terms.rate.account, {}) if terms and terms.rate else {}
    return Standing(
        thing=state.things[attempt.thing] if same else None,
        case_twin=None if same else existing,
        key_owner=bound.thing if bound else None,
        key_revoked=attempt.key in state.key_tombstones,
        current=state.held(attempt.thing, Slot.CURRENT),
        successor=state.held(attempt.thing, Slot.SUCCESSOR),
        open_intent=state.open_intent(attempt.thing),
        redeemed=(attempt.thing, attempt.key) in pairs,
        uses_taken=len(pairs),
        token_withdrawn=not _stands(token, attempt.applicant),
        group_removed=terms is not None and terms.group not in state.groups,
        group_redeemed=(attempt.thing, attempt.key) in members,
        group_taken=len(members),
        rate_taken=len(lately),
    )


def _stands(token: EnrollmentToken | None, applicant: Applicant) -> bool:
    """Whether the credential counts: as the registry knows it, or by itself where it need not know it."""
    if token is None:
        return not applicant.is_known
    return token.withdrawn_at is None and applicant.showed(token.digest)


def _record(state: State, standing: Standing, attempt: Attempt, intent: Intent) -> None:
    state.require_new(intent)
    if standing.open_intent is not None:
        state.supersede(standing.open_intent, intent)
    thing = standing.thing
    if thing is None:
        state.keep_thing(claimed(attempt))
    elif thing.status.is_gone:
        state.name_tombstones[attempt.thing] = thing
        state.keep_thing(claimed(attempt, thing))
    elif intent.slot is Slot.SUCCESSOR:
        state.keep_thing(replace(thing, release_until=None))
    state.open(intent)


def store(state: State, intent: Intent, certificate: Certificate) -> Certificate:
    """See ``Enrollments.store``."""
    kept = staged(intent, certificate)
    winner = state.staged(intent.id)
    if winner is not None and winner.status is not CertificateStatus.REVOKED:
        return winner
    if intent.id not in state.intents:
        raise _interrupted(state, intent.thing)
    if certificate.id in state.certificates:
        raise RegistryUnavailable
    state.certificates[kept.id] = kept
    state.signed[intent.id] = kept.id
    return kept


def activate(state: State, intent: IntentId, event: AuditEvent) -> Certificate:
    """See ``Enrollments.activate``."""
    kept = state.staged(intent)
    waiting = state.intents.get(intent)
    if kept is None:
        raise EnrollmentInterrupted
    if waiting is None and kept.status is CertificateStatus.ACTIVE:
        return kept
    thing = state.things.get(kept.thing)
    if waiting is None or thing is None or thing.status is ThingStatus.SUSPENDED:
        raise _interrupted(state, kept.thing)
    gone = state.held(kept.thing, kept.slot)
    state.attach(kept)
    if gone is not None and gone.renews is not None and gone.key_hash != kept.key_hash:
        state.key_tombstones.add(gone.key_hash)  # a replacement has taken the place of a renewal
    state.close(waiting)
    state.keep_thing(replace(thing, status=ThingStatus.ACTIVE))
    state.name_tombstones.pop(thing.name, None)
    state.append(event)
    return state.mark(kept, CertificateStatus.ACTIVE)


def _interrupted(state: State, name: ThingName) -> ThingRevoked | EnrollmentInterrupted:
    thing = state.things.get(name)
    if thing is not None and (thing.status.is_gone or thing.status is ThingStatus.SUSPENDED):
        return ThingRevoked(name=name, status=thing.status.value)
    return EnrollmentInterrupted()
