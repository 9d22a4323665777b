"""The whole registry in memory: every method is one step that nothing interrupts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from heapq import nsmallest

from keyborn.adapters.memory import renewing
from keyborn.adapters.memory.api_keys import ApiKeyTable
from keyborn.adapters.memory.state import State
from keyborn.domain.access import Badge
from keyborn.domain.access_policy.attaching import attached, detached, in_force, revised
from keyborn.domain.access_policy.document import DEFAULT_POLICY, AccessPolicy, PolicyName
from keyborn.domain.audit import AuditEvent, AuditRecord, succession
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Attempt, Issue, Standing, Verdict, claimed, decide, staged
from keyborn.domain.errors import (
    EnrollmentInterrupted,
    NotFound,
    PolicyInUse,
    RegistryUnavailable,
    ThingRevoked,
)
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.lifecycle import moves, require_here
from keyborn.domain.names import CertificateId, ThingName, fold_name
from keyborn.domain.renewal import Confirmation, RenewalAttempt, require_reporter
from keyborn.domain.roots import Belief, RootSet
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId, TokenUse
from keyborn.ports import page_size


class MemoryRegistry(ApiKeyTable):
    """Implements ``keyborn.ports.RenewingRegistry``. Nothing is durable; all else holds as on disk."""

    def __init__(self) -> None:
        self._state = State()

    # ── enrolment ─────────────────────────────────────────────────────────────────────────────────────

    async def claim(self, attempt: Attempt) -> Verdict:
        """See ``Enrollments.claim``."""
        standing = self._standing(attempt)
        verdict = decide(standing, attempt)
        if not isinstance(verdict, Issue):
            return verdict
        if not verdict.resumed:
            self._record(standing, attempt, verdict.intent)
        pair = (attempt.thing, attempt.key)
        self._state.redemptions.setdefault(attempt.applicant.token, {}).setdefault(pair, verdict.intent.id)
        return verdict

    def _standing(self, attempt: Attempt) -> Standing:
        state = self._state
        existing = state.folded.get(fold_name(attempt.thing))
        same = existing == attempt.thing
        bound = state.keys.get(attempt.key)
        token = state.tokens.get(attempt.applicant.token)
        pairs = state.redemptions.get(attempt.applicant.token, {})
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
            token_withdrawn=token is None
            or token.withdrawn_at is not None
            or not attempt.applicant.showed(token.digest),
        )

    def _record(self, standing: Standing, attempt: Attempt, intent: Intent) -> None:
        state = self._state
        state.require_new(intent)
        if standing.open_intent is not None:
            state.supersede(standing.open_intent, intent)
        if standing.thing is None:
            state.keep_thing(claimed(attempt))
        elif standing.thing.status.is_gone:
            state.name_tombstones[attempt.thing] = standing.thing
            state.keep_thing(claimed(attempt, standing.thing))
        state.open(intent)

    async def store(self, intent: Intent, certificate: Certificate) -> Certificate:
        """See ``Enrollments.store``."""
        state = self._state
        kept = staged(intent, certificate)
        winner = state.staged(intent.id)
        if winner is not None and winner.status is not CertificateStatus.REVOKED:
            return winner
        if intent.id not in state.intents:
            raise self._interrupted(intent.thing)
        if certificate.id in state.certificates:
            raise RegistryUnavailable
        state.certificates[kept.id] = kept
        state.signed[intent.id] = kept.id
        return kept

    async def activate(self, intent: IntentId, event: AuditEvent) -> Certificate:
        """See ``Enrollments.activate``."""
        state = self._state
        kept = state.staged(intent)
        waiting = state.intents.get(intent)
        if kept is None:
            raise EnrollmentInterrupted
        if waiting is None and kept.status is CertificateStatus.ACTIVE:
            return kept
        thing = state.things.get(kept.thing)
        if waiting is None or thing is None or thing.status is ThingStatus.SUSPENDED:
            raise self._interrupted(kept.thing)
        gone = state.held(kept.thing, kept.slot)
        state.attach(kept)
        if gone is not None and gone.renews is not None and gone.key_hash != kept.key_hash:
            state.key_tombstones.add(gone.key_hash)  # a replacement has taken the place of a renewal
        state.close(waiting)
        state.keep_thing(replace(thing, status=ThingStatus.ACTIVE))
        state.name_tombstones.pop(thing.name, None)
        state.append(event)
        return state.mark(kept, CertificateStatus.ACTIVE)

    def _interrupted(self, name: ThingName) -> ThingRevoked | EnrollmentInterrupted:
        thing = self._state.things.get(name)
        if thing is not None and (thing.status.is_gone or thing.status is ThingStatus.SUSPENDED):
            return ThingRevoked(name=name, status=thing.status.value)
        return EnrollmentInterrupted()

    # ── tokens ────────────────────────────────────────────────────────────────────────────────────────

    async def add(self, token: EnrollmentToken, event: AuditEvent) -> None:
        """See ``Tokens.add``."""
        known = self._state.tokens.get(token.id)
        if known is None:
            self._state.tokens[token.id] = token
            self._state.append(event)
        elif known.digest != token.digest:
            raise RegistryUnavailable  # two secrets, one id: the next attempt draws another secret

    async def find(self, token: TokenId) -> EnrollmentToken | None:
        """See ``Tokens.find``."""
        return self._state.tokens.get(token)

    async def withdraw(self, token: TokenId, event: AuditEvent) -> EnrollmentToken:
        """See ``Tokens.withdraw``."""
        known = self._state.tokens.get(token)
        if known is None:
            raise NotFound(what="token", name=token)
        if known.withdrawn_at is not None:
            return known
        withdrawn = replace(known, withdrawn_at=event.at)
        self._state.tokens[token] = withdrawn
        self._state.append(event)
        return withdrawn

    async def tokens(self, *, after: TokenId | None = None, limit: int = 100) -> Sequence[TokenUse]:
        """See ``TokenList.tokens``."""
        state = self._state
        later = (name for name in state.tokens if after is None or name > after)
        page = nsmallest(page_size(limit), later)
        return [TokenUse(state.tokens[name], len(state.redemptions.get(name, {}))) for name in page]

    # ── the fleet ─────────────────────────────────────────────────────────────────────────────────────

    async def thing(self, name: ThingName) -> Thing | None:
        """See ``Fleet.thing``."""
        return self._state.things.get(name)

    async def things(
        self, *, kind: ThingKind = ThingKind.DEVICE, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[Thing]:
        """See ``Fleet.things``."""
        things = self._state.things
        later = (name for name, one in things.items() if one.kind is kind and name > (after or ""))
        return [things[name] for name in nsmallest(page_size(limit), later)]

    async def certificates(self, name: ThingName) -> Sequence[Certificate]:
        """See ``Fleet.certificates``."""
        return list(self._state.certificates_of(name))

    async def set_status(self, name: ThingName, status: ThingStatus, event: AuditEvent) -> Thing:
        """See ``Lifecycle.set_status``."""
        thing = self._known(name)
        if not moves(thing, status):
            return thing
        self._state.append(event)
        if status.is_gone:
            return self._end(thing, status)
        if status is ThingStatus.SUSPENDED:
            return self._switch(thing, status, CertificateStatus.INACTIVE)
        held = any(self._state.held(name, slot) for slot in Slot)
        back = ThingStatus.ACTIVE if held else ThingStatus.CLAIMED
        return self._switch(thing, back, CertificateStatus.ACTIVE)

    def _known(self, name: ThingName) -> Thing:
        thing = self._state.things.get(name)
        if thing is None:
            raise NotFound(what="thing", name=name)
        return thing

    def _switch(self, thing: Thing, status: ThingStatus, certificates: CertificateStatus) -> Thing:
        for slot in Slot:
            held = self._state.held(thing.name, slot)
            if held is not None:
                self._state.mark(held, certificates)
        return self._state.keep_thing(replace(thing, status=status))

    def _end(self, thing: Thing, status: ThingStatus) -> Thing:
        state = self._state
        waiting = state.open_intent(thing.name)
        if waiting is not None:
            state.close(waiting)
        for certificate in state.certificates_of(thing.name):
            state.mark(certificate, CertificateStatus.REVOKED)
        for slot in Slot:
            state.attached.pop((thing.name, slot), None)
        state.key_tombstones.update(state.keys_of(thing.name))
        return state.keep_thing(replace(thing, status=status, grace_until=None))

    # ── the broker ────────────────────────────────────────────────────────────────────────────────────

    async def certificate(self, certificate: CertificateId) -> Certificate | None:
        """See ``DeviceDirectory.certificate``."""
        return self._state.certificates.get(certificate)

    async def badge(self, certificate: CertificateId) -> Badge | None:
        """See ``DeviceDirectory.badge``."""
        state = self._state
        known = state.certificates.get(certificate)
        thing = None if known is None else state.things.get(known.thing)
        if known is None or thing is None:
            return None
        kept = (state.policies.get(name) for name in in_force(thing))
        return Badge(known, thing, tuple(policy for policy in kept if policy is not None))

    async def connected(self, certificate: CertificateId, at: datetime) -> Certificate:
        """See ``DeviceDirectory.connected``."""
        known = self._state.certificates.get(certificate)
        if known is None:
            raise NotFound(what="certificate", name=certificate)
        if not known.live(at) or known.connected_at is not None:
            return known
        met = replace(known, connected_at=at)
        self._state.certificates[certificate] = met
        if met.slot is Slot.CURRENT or met.renews is not None:
            return met
        promoted, retired = self._state.promote(met)
        self._state.append(succession(promoted, retired, at))
        return promoted

    # ── renewal ───────────────────────────────────────────────────────────────────────────────────────

    async def renew(self, attempt: RenewalAttempt) -> Verdict:
        """See ``Renewals.renew``."""
        return renewing.renew(self._state, attempt)

    async def confirm(self, confirmation: Confirmation) -> Certificate:
        """See ``Renewals.confirm``."""
        return renewing.confirm(self._state, confirmation)

    async def overdue(self, *, before: datetime, at: datetime, limit: int = 100) -> Sequence[Certificate]:
        """See ``Successors.overdue``."""
        return nsmallest(page_size(limit), renewing.overdue(self._state, before, at), key=renewing.by_age)

    async def withdraw_successor(self, certificate: CertificateId, event: AuditEvent) -> bool:
        """See ``Successors.withdraw_successor``."""
        return renewing.withdraw(self._state, certificate, event)

    async def set_grace(self, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
        """See ``Grace.set_grace``."""
        thing = self._known(name)
        require_here(thing)
        changed = thing if thing.grace_until == until else replace(thing, grace_until=until)
        return self._keep(thing, changed, event)

    # ── roots ─────────────────────────────────────────────────────────────────────────────────────────

    async def note_roots(self, certificate: CertificateId, roots: RootSet, at: datetime) -> None:
        """See ``TrustReports.note_roots``."""
        signer = self._state.certificates.get(certificate)
        thing = None if signer is None else self._state.things.get(signer.thing)
        name = require_reporter(thing, signer, at).name
        if (await self.belief(name)).roots != roots:
            self._state.beliefs[name] = Belief(name, roots, at)

    async def belief(self, name: ThingName) -> Belief:
        """See ``Beliefs.belief``."""
        return self._state.beliefs.get(name, Belief(name))

    async def root_sets(self) -> Sequence[tuple[RootSet | None, int]]:
        """See ``Beliefs.root_sets``."""
        return list(Counter(one.roots for one in self._state.believers()).items())

    async def lacking(
        self, roots: RootSet, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[Belief]:
        """See ``Beliefs.lacking``."""
        found = (one for one in self._state.believers() if one.roots != roots and one.thing > (after or ""))
        return nsmallest(page_size(limit), found, key=lambda one: one.thing)

    async def count_holders(self, issuer: bytes, at: datetime) -> int:
        """See ``Holders.count_holders``."""
        return sum(1 for _name in self._state.holders(issuer, at))

    async def holders(
        self, issuer: bytes, at: datetime, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[ThingName]:
        """See ``Holders.holders``."""
        found = (name for name in self._state.holders(issuer, at) if name > (after or ""))
        return nsmallest(page_size(limit), found)

    # ── access policies ───────────────────────────────────────────────────────────────────────────────

    async def put_policy(self, policy: AccessPolicy, event: AuditEvent) -> AccessPolicy:
        """See ``AccessPolicies.put_policy``."""
        known = self._state.policies.get(policy.name)
        kept = revised(known, policy)
        if kept is not known:
            self._state.policies[policy.name] = kept
            self._state.append(event)
        return kept

    async def policy(self, name: PolicyName) -> AccessPolicy | None:
        """See ``AccessPolicies.policy``."""
        return self._state.policies.get(name)

    async def remove_policy(self, name: PolicyName, event: AuditEvent) -> None:
        """See ``AccessPolicies.remove_policy``."""
        if name == DEFAULT_POLICY:
            raise PolicyInUse(policy=name, detail="who has no other policy has this one")
        self._require_policy(name)
        for user in self._state.users(name):
            raise PolicyInUse(policy=name, detail=f"{user} has it")
        for token in self._state.tokens_that_give(name, event.at):
            raise PolicyInUse(policy=name, detail=f"the token {token} would give it to whoever enrolls")
        del self._state.policies[name]
        self._state.append(event)

    def _require_policy(self, name: PolicyName) -> None:
        if name not in self._state.policies:
            raise NotFound(what="policy", name=name)

    async def policies(self, *, after: PolicyName | None = None, limit: int = 100) -> Sequence[AccessPolicy]:
        """See ``PolicyList.policies``."""
        policies = self._state.policies
        later = (name for name in policies if name > (after or ""))
        return [policies[name] for name in nsmallest(page_size(limit), later)]

    async def attach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.attach_policy``."""
        thing = self._known(name)
        self._require_policy(policy)
        return self._keep(thing, attached(thing, policy), event)

    async def detach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.detach_policy``."""
        thing = self._known(name)
        return self._keep(thing, detached(thing, policy), event)

    def _keep(self, before: Thing, after: Thing, event: AuditEvent) -> Thing:
        if after is not before:
            self._state.keep_thing(after)
            self._state.append(event)
        return after

    async def users(
        self, policy: PolicyName, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[ThingName]:
        """See ``PolicyUse.users``."""
        later = (name for name in self._state.users(policy) if name > (after or ""))
        return nsmallest(page_size(limit), later)

    # ── what crashed enrolments left, and the trail ───────────────────────────────────────────────────

    async def leftovers(self, *, before: datetime, limit: int = 100) -> Sequence[Intent]:
        """See ``Leftovers.leftovers``."""
        old = (intent for intent in self._state.intents.values() if intent.created_at < before)
        return nsmallest(page_size(limit), old, key=lambda intent: (intent.created_at, intent.id))

    async def drop(self, intent: IntentId, event: AuditEvent) -> bool:
        """See ``Leftovers.drop``."""
        waiting = self._state.intents.get(intent)
        if waiting is None:
            return False
        self._state.undo(waiting)
        self._state.append(event)
        return True

    async def append(self, event: AuditEvent) -> None:
        """See ``AuditTrail.append``."""
        self._state.append(event)

    async def records(self, *, after: int = 0, limit: int = 1000) -> Sequence[AuditRecord]:
        """See ``AuditTrail.records``."""
        return self._state.audit[after : after + page_size(limit)]
