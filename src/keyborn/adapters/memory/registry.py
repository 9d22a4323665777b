"""The whole registry in memory: every method is one step that nothing interrupts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from heapq import nsmallest

from keyborn.adapters.memory import enrolling, renewing
from keyborn.adapters.memory.api_keys import ApiKeyTable
from keyborn.adapters.memory.census import CensusInMemory
from keyborn.adapters.memory.grouping import GroupingInMemory
from keyborn.adapters.memory.state import State
from keyborn.adapters.memory.vouching import MemoryCheckpoints
from keyborn.domain.access import Badge
from keyborn.domain.access_policy.attaching import attached, detached, in_force, revised
from keyborn.domain.access_policy.document import DEFAULT_POLICY, AccessPolicy, PolicyName
from keyborn.domain.audit import AuditEvent, AuditRecord, succession
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Attempt, Verdict
from keyborn.domain.errors import NotFound, PolicyInUse, RegistryUnavailable
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.lifecycle import moves, require_here
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import Confirmation, RenewalAttempt, require_reporter
from keyborn.domain.roots import Belief, RootSet
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId, TokenUse
from keyborn.ports import page_size


class MemoryRegistry(GroupingInMemory, MemoryCheckpoints, ApiKeyTable, CensusInMemory):
    """Implements ``keyborn.ports.GroupingRegistry``. Nothing is durable; all else holds as on disk."""

    def __init__(self) -> None:
        self._state = State()

    # ── enrolment ─────────────────────────────────────────────────────────────────────────────────────

    async def claim(self, attempt: Attempt) -> Verdict:
        """See ``Enrollments.claim``."""
        return enrolling.claim(self._state, attempt)

    async def store(self, intent: Intent, certificate: Certificate) -> Certificate:
        """See ``Enrollments.store``."""
        return enrolling.store(self._state, intent, certificate)

    async def activate(self, intent: IntentId, event: AuditEvent) -> Certificate:
        """See ``Enrollments.activate``."""
        return enrolling.activate(self._state, intent, event)

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
            return known.listed()
        withdrawn = replace(known, withdrawn_at=event.at)
        self._state.tokens[token] = withdrawn
        self._state.append(event)
        return withdrawn.listed()

    async def tokens(self, *, after: TokenId | None = None, limit: int = 100) -> Sequence[TokenUse]:
        """See ``TokenList.tokens``."""
        state = self._state
        later = (name for name in state.tokens if after is None or name > after)
        page = nsmallest(page_size(limit), later)
        return [TokenUse(state.tokens[name].listed(), len(state.redemptions.get(name, {}))) for name in page]

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
        thing = self._state.known(name)
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
        return state.keep_thing(replace(thing, status=status, grace_until=None, release_until=None))

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
        thing = self._state.known(name)
        require_here(thing)
        changed = thing if thing.grace_until == until else replace(thing, grace_until=until)
        return self._state.change(thing, changed, event)

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
        for group in self._state.groups_that_give(name):
            raise PolicyInUse(policy=name, detail=f"the group {group} would give it to whoever enrolls")
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
        thing = self._state.known(name)
        self._require_policy(policy)
        return self._state.change(thing, attached(thing, policy), event)

    async def detach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.detach_policy``."""
        thing = self._state.known(name)
        return self._state.change(thing, detached(thing, policy), event)

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
