"""The tables of the in-memory registry and the few effects that several of its methods share."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.api_key import ApiKey, ApiKeyId
from keyborn.domain.approval import Approval, ApprovalId
from keyborn.domain.audit import AuditEvent, AuditRecord, ChainHead
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.checkpoint import Checkpoint
from keyborn.domain.errors import NotFound, RegistryUnavailable
from keyborn.domain.group import GroupDocument
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import (
    RESERVED_PREFIX,
    CertificateId,
    GroupName,
    KeyHash,
    ThingName,
    fold_name,
)
from keyborn.domain.registered import RegisteredKey
from keyborn.domain.roots import Belief
from keyborn.domain.thing import Thing, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId

Pair = tuple[ThingName, KeyHash]


@dataclass(frozen=True, slots=True)
class Binding:
    """A key belongs to a thing; ``intent`` brought it and takes it away if it is dropped."""

    thing: ThingName
    intent: IntentId


@dataclass(slots=True)
class State:
    """Everything the registry knows. An effect either happens whole or raises before it changes anything."""

    things: dict[ThingName, Thing] = field(default_factory=dict)
    folded: dict[str, ThingName] = field(default_factory=dict)
    keys: dict[KeyHash, Binding] = field(default_factory=dict)
    key_tombstones: set[KeyHash] = field(default_factory=set)
    name_tombstones: dict[ThingName, Thing] = field(default_factory=dict)
    """What a freed name's record was: it comes back if the new claim comes to nothing."""
    certificates: dict[CertificateId, Certificate] = field(default_factory=dict)
    """In the order they were stored."""
    signed: dict[IntentId, CertificateId] = field(default_factory=dict)
    """The certificate stored for an intent, open or not."""
    attached: dict[tuple[ThingName, Slot], CertificateId] = field(default_factory=dict)
    """Certificates that have been activated and not revoked since: at most one per slot."""
    tokens: dict[TokenId, EnrollmentToken] = field(default_factory=dict)
    redemptions: dict[TokenId, dict[Pair, IntentId]] = field(default_factory=dict)
    """By account; a token is one."""
    settled: Counter[TokenId] = field(default_factory=Counter)
    """Redemptions that were forgotten, and count all the same."""
    intents: dict[IntentId, Intent] = field(default_factory=dict)
    """Open ones only."""
    open_by_thing: dict[ThingName, IntentId] = field(default_factory=dict)
    serials: set[int] = field(default_factory=set)
    policies: dict[PolicyName, AccessPolicy] = field(default_factory=dict)
    groups: dict[GroupName, GroupDocument] = field(default_factory=dict)
    registered: dict[KeyHash, RegisteredKey] = field(default_factory=dict)
    approvals: dict[ApprovalId, Approval] = field(default_factory=dict)
    beliefs: dict[ThingName, Belief] = field(default_factory=dict)
    api_keys: dict[ApiKeyId, ApiKey] = field(default_factory=dict)
    audit: list[AuditRecord] = field(default_factory=list)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)

    def held(self, thing: ThingName, slot: Slot) -> Certificate | None:
        """The certificate attached to a thing in a slot."""
        attached = self.attached.get((thing, slot))
        return None if attached is None else self.certificates[attached]

    def open_intent(self, thing: ThingName) -> Intent | None:
        """The thing's open intent."""
        intent = self.open_by_thing.get(thing)
        return None if intent is None else self.intents[intent]

    def staged(self, intent: IntentId) -> Certificate | None:
        """The certificate stored for an intent."""
        signed = self.signed.get(intent)
        return None if signed is None else self.certificates[signed]

    def known(self, name: ThingName) -> Thing:
        """A record that must be there; raises NotFound."""
        thing = self.things.get(name)
        if thing is None:
            raise NotFound(what="thing", name=name)
        return thing

    def change(self, before: Thing, after: Thing, event: AuditEvent) -> Thing:
        """Keep a record and tell it; the very same object changes and appends nothing."""
        if after is not before:
            self.keep_thing(after)
            self.append(event)
        return after

    def keep_thing(self, thing: Thing) -> Thing:
        """Insert or replace a record."""
        self.things[thing.name] = thing
        self.folded[fold_name(thing.name)] = thing.name
        return thing

    def mark(self, certificate: Certificate, status: CertificateStatus) -> Certificate:
        """Give a certificate another status."""
        changed = replace(certificate, status=status)
        self.certificates[certificate.id] = changed
        return changed

    def attach(self, certificate: Certificate) -> None:
        """Put a certificate into its slot; what was there becomes revoked, its key does not."""
        before = self.held(certificate.thing, certificate.slot)
        if before is not None:
            self.mark(before, CertificateStatus.REVOKED)
        self.attached[certificate.thing, certificate.slot] = certificate.id

    def certificates_of(self, thing: ThingName) -> Iterator[Certificate]:
        """All of a thing's certificates, oldest first."""
        return (one for one in list(self.certificates.values()) if one.thing == thing)

    def keys_of(self, thing: ThingName) -> Iterator[KeyHash]:
        """All keys bound to a thing."""
        return (key for key, bound in list(self.keys.items()) if bound.thing == thing)

    def users(self, policy: PolicyName) -> Iterator[ThingName]:
        """Who has a policy by name."""
        return (name for name, one in self.things.items() if policy in (one.policies or ()))

    def tokens_that_give(self, policy: PolicyName, at: datetime) -> Iterator[TokenId]:
        """Tokens that name a policy and may still be redeemed."""
        for token in self.tokens.values():
            left = token.uses is None or len(self.redemptions.get(token.id, {})) < token.uses
            fresh = token.withdrawn_at is None and not token.expired(at)
            if left and fresh and policy in (token.policies or ()):
                yield token.id

    def groups_that_give(self, policy: PolicyName) -> Iterator[GroupName]:
        """Groups that name a policy."""
        return (name for name, one in self.groups.items() if policy in one.policies)

    def pending(self, group: GroupName, at: datetime) -> int:
        """How many requests of a group wait for a person."""
        waiting = (one for one in self.approvals.values() if one.group == group)
        return sum(one.waits(at) for one in waiting)

    def believers(self) -> Iterator[Belief]:
        """What every thing believes that is neither gone nor only claimed."""
        for name, thing in self.things.items():
            counts = thing.status in (ThingStatus.ACTIVE, ThingStatus.SUSPENDED)
            if counts and not name.startswith(RESERVED_PREFIX):
                yield self.beliefs.get(name, Belief(name))

    def holders(self, issuer: bytes, at: datetime) -> Iterator[ThingName]:
        """Whoever of these has a certificate that ``issuer``, its name in DER, has signed."""
        for believer in self.believers():
            slots = (self.attached.get((believer.thing, slot)) for slot in Slot)
            held = (self.certificates[each] for each in slots if each is not None)
            if any(issuer in each.der and each.not_after > at for each in held):
                yield believer.thing

    def require_new(self, intent: Intent) -> None:
        """Raise RegistryUnavailable for a serial or an id that is taken: the next attempt draws others."""
        if intent.serial in self.serials or intent.id in self.intents or intent.id in self.signed:
            raise RegistryUnavailable

    def open(self, intent: Intent) -> None:
        """Put an intent on the list of open ones, and bind its key."""
        self.keys.setdefault(intent.key_hash, Binding(intent.thing, intent.id))
        self.intents[intent.id] = intent
        self.open_by_thing[intent.thing] = intent.id
        self.serials.add(intent.serial)

    def supersede(self, old: Intent, new: Intent) -> None:
        """Make room for ``new`` in the place of ``old``; what the same key brought, it keeps."""
        kept = self.staged(old.id)
        if kept is not None:
            self.mark(kept, CertificateStatus.REVOKED)
        self.close(old)
        same_key = old.key_hash == new.key_hash
        self._pass_on(old, new.id if same_key else None)
        if self.keys[old.key_hash].intent != old.id:
            return
        if same_key:
            self.keys[old.key_hash] = Binding(old.thing, new.id)
        else:
            del self.keys[old.key_hash]

    def promote(self, successor: Certificate) -> tuple[Certificate, KeyHash]:
        """Make a successor its thing's current certificate; with the key that retires by that."""
        thing = self.things[successor.thing]
        waiting = self.open_intent(thing.name)
        if waiting is not None and waiting.slot is Slot.CURRENT:
            self.undo(waiting)  # it would bring back the key that retires here
        del self.attached[thing.name, Slot.SUCCESSOR]
        promoted = replace(successor, slot=Slot.CURRENT)
        self.certificates[successor.id] = promoted
        self.attach(promoted)
        self.key_tombstones.add(thing.key_hash)
        self.keep_thing(replace(thing, key_hash=successor.key_hash))
        return promoted, thing.key_hash

    def close(self, intent: Intent) -> None:
        """Take an intent off the list of open ones."""
        del self.intents[intent.id]
        del self.open_by_thing[intent.thing]

    def undo(self, intent: Intent) -> None:
        """Close an intent and take back what it brought: certificate, redemptions, key, claimed name."""
        self.close(intent)
        staged = self.staged(intent.id)
        if staged is not None:
            self.mark(staged, CertificateStatus.REVOKED)
        self._pass_on(intent, None)
        thing = self.things[intent.thing]
        if thing.status is ThingStatus.CLAIMED:
            self.free(thing)
        self._unbind(intent)

    def _pass_on(self, payer: Intent, heir: IntentId | None) -> None:
        """Every account that an intent has paid from: give it back, or let it count as another intent's."""
        pair = (payer.thing, payer.key_hash)
        for pairs in self.redemptions.values():
            if pairs.get(pair) != payer.id:
                continue
            if heir is None:
                del pairs[pair]
            else:
                pairs[pair] = heir

    def free(self, thing: Thing) -> None:
        """Forget a claimed thing that came to nothing, or let it fall back to its tombstone."""
        for key in self.keys_of(thing.name):
            if key not in self.key_tombstones:
                del self.keys[key]
        tombstone = self.name_tombstones.get(thing.name)
        if tombstone is not None:
            self.keep_thing(fallen_back(thing, tombstone))
            return
        del self.things[thing.name]
        del self.folded[fold_name(thing.name)]

    def append(self, event: AuditEvent) -> None:
        """Chain an event to the end of the trail."""
        last = self.audit[-1] if self.audit else None
        head = ChainHead(last.sequence, last.hash) if last else ChainHead()
        self.audit.append(head.extend(event))

    def _unbind(self, intent: Intent) -> None:
        thing = self.things.get(intent.thing)
        bound = self.keys.get(intent.key_hash)
        owns_thing = thing is not None and thing.key_hash == intent.key_hash
        if bound is not None and bound.intent == intent.id and not owns_thing:
            del self.keys[intent.key_hash]


def fallen_back(claimed: Thing, gone: Thing) -> Thing:
    """A freed name whose claim came to nothing: gone as before, but for what an operator has set since."""
    return replace(
        claimed,
        status=gone.status,
        key_hash=gone.key_hash,
        policies=gone.policies,
        grace_until=None,
        release_until=None,
    )
