"""The ports as a rude world shows them: each awaited effect is a named step, ``registry.claim`` and so on."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from keyborn.domain.access import Badge
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.api_key import ApiKey, ApiKeyId
from keyborn.domain.audit import AuditEvent, AuditRecord
from keyborn.domain.census import Census
from keyborn.domain.certificate import Certificate
from keyborn.domain.checkpoint import Checkpoint
from keyborn.domain.enrollment import Attempt, Outcome, Verdict
from keyborn.domain.errors import KeybornError, RegistryUnavailable, Unavailable
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.pruning import Pruned
from keyborn.domain.renewal import Confirmation, RenewalAttempt
from keyborn.domain.roots import Belief, RootSet
from keyborn.domain.search import Search
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId, TokenUse
from keyborn.ports import (
    Beliefs,
    Censuses,
    CertificateAuthority,
    Checkpoints,
    Holders,
    KeyRegistry,
    Pruning,
    Registry,
    RenewingRegistry,
    Searches,
    TrustReports,
)

T = TypeVar("T")


class Effects(Protocol):
    """What a wrapper needs of its world."""

    async def effect(
        self,
        name: str,
        act: Callable[[], Awaitable[T]],
        trouble: Callable[[], KeybornError] = RegistryUnavailable,
        *,
        repeatable: bool = True,
    ) -> T:
        """Do ``act`` as the world permits."""
        ...


class Believing(TrustReports, Beliefs, Holders, Protocol):
    """A registry that is asked who believes, and who needs, which roots."""


class Scale(Searches, Censuses, Pruning, Protocol):
    """The sides of a registry that a large fleet needs."""


class FaultyAuthority:
    """Implements ``keyborn.ports.CertificateAuthority`` over a real one; publishing its chain never fails."""

    def __init__(self, real: CertificateAuthority, world: Effects) -> None:
        self._real = real
        self._world = world

    async def issue(self, approved: ApprovedRequest) -> bytes:
        """See ``CertificateAuthority.issue``; also raises Unavailable."""
        return await self._world.effect("authority.issue", lambda: self._real.issue(approved), Unavailable)

    def chain_pem(self, der: bytes | None = None) -> str:
        """See ``CertificateAuthority.chain_pem``."""
        return self._real.chain_pem(der)

    def roots_pem(self) -> str:
        """See ``CertificateAuthority.roots_pem``."""
        return self._real.roots_pem()


class FaultyRegistry:
    """Implements ``keyborn.ports.Registry`` over a real one."""

    def __init__(self, real: Registry, world: Effects) -> None:
        self._real = real
        self._world = world

    async def claim(self, attempt: Attempt) -> Outcome:
        """See ``Enrollments.claim``."""
        return await self._world.effect("registry.claim", lambda: self._real.claim(attempt))

    async def store(self, intent: Intent, certificate: Certificate) -> Certificate:
        """See ``Enrollments.store``."""
        return await self._world.effect("registry.store", lambda: self._real.store(intent, certificate))

    async def activate(self, intent: IntentId, event: AuditEvent) -> Certificate:
        """See ``Enrollments.activate``."""
        return await self._world.effect("registry.activate", lambda: self._real.activate(intent, event))

    async def add(self, token: EnrollmentToken, event: AuditEvent) -> None:
        """See ``Tokens.add``."""
        await self._world.effect("registry.add", lambda: self._real.add(token, event))

    async def find(self, token: TokenId) -> EnrollmentToken | None:
        """See ``Tokens.find``."""
        return await self._world.effect("registry.find", lambda: self._real.find(token))

    async def withdraw(self, token: TokenId, event: AuditEvent) -> EnrollmentToken:
        """See ``Tokens.withdraw``."""
        return await self._world.effect("registry.withdraw", lambda: self._real.withdraw(token, event))

    async def tokens(self, *, after: TokenId | None = None, limit: int = 100) -> Sequence[TokenUse]:
        """See ``TokenList.tokens``."""
        return await self._world.effect(
            "registry.tokens", lambda: self._real.tokens(after=after, limit=limit)
        )

    async def thing(self, name: ThingName) -> Thing | None:
        """See ``Fleet.thing``."""
        return await self._world.effect("registry.thing", lambda: self._real.thing(name))

    async def things(
        self, *, kind: ThingKind = ThingKind.DEVICE, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[Thing]:
        """See ``Fleet.things``."""
        return await self._world.effect(
            "registry.things", lambda: self._real.things(kind=kind, after=after, limit=limit)
        )

    async def certificates(self, name: ThingName) -> Sequence[Certificate]:
        """See ``Fleet.certificates``."""
        return await self._world.effect("registry.certificates", lambda: self._real.certificates(name))

    async def set_status(self, name: ThingName, status: ThingStatus, event: AuditEvent) -> Thing:
        """See ``Lifecycle.set_status``."""
        return await self._world.effect(
            "registry.set_status", lambda: self._real.set_status(name, status, event)
        )

    async def certificate(self, certificate: CertificateId) -> Certificate | None:
        """See ``DeviceDirectory.certificate``."""
        return await self._world.effect("registry.certificate", lambda: self._real.certificate(certificate))

    async def badge(self, certificate: CertificateId) -> Badge | None:
        """See ``DeviceDirectory.badge``."""
        return await self._world.effect("registry.badge", lambda: self._real.badge(certificate))

    async def connected(self, certificate: CertificateId, at: datetime) -> Certificate:
        """See ``DeviceDirectory.connected``."""
        return await self._world.effect("registry.connected", lambda: self._real.connected(certificate, at))

    async def put_policy(self, policy: AccessPolicy, event: AuditEvent) -> AccessPolicy:
        """See ``AccessPolicies.put_policy``."""
        return await self._world.effect("registry.put_policy", lambda: self._real.put_policy(policy, event))

    async def policy(self, name: PolicyName) -> AccessPolicy | None:
        """See ``AccessPolicies.policy``."""
        return await self._world.effect("registry.policy", lambda: self._real.policy(name))

    async def remove_policy(self, name: PolicyName, event: AuditEvent) -> None:
        """See ``AccessPolicies.remove_policy``; never duplicated, since what is gone is not found."""
        await self._world.effect(
            "registry.remove_policy", lambda: self._real.remove_policy(name, event), repeatable=False
        )

    async def policies(self, *, after: PolicyName | None = None, limit: int = 100) -> Sequence[AccessPolicy]:
        """See ``PolicyList.policies``."""
        return await self._world.effect(
            "registry.policies", lambda: self._real.policies(after=after, limit=limit)
        )

    async def attach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.attach_policy``."""
        return await self._world.effect(
            "registry.attach_policy", lambda: self._real.attach_policy(name, policy, event)
        )

    async def detach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.detach_policy``."""
        return await self._world.effect(
            "registry.detach_policy", lambda: self._real.detach_policy(name, policy, event)
        )

    async def users(
        self, policy: PolicyName, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[ThingName]:
        """See ``PolicyUse.users``."""
        return await self._world.effect(
            "registry.users", lambda: self._real.users(policy, after=after, limit=limit)
        )

    async def leftovers(self, *, before: datetime, limit: int = 100) -> Sequence[Intent]:
        """See ``Leftovers.leftovers``."""
        return await self._world.effect(
            "registry.leftovers", lambda: self._real.leftovers(before=before, limit=limit)
        )

    async def drop(self, intent: IntentId, event: AuditEvent) -> bool:
        """See ``Leftovers.drop``."""
        return await self._world.effect("registry.drop", lambda: self._real.drop(intent, event))

    async def append(self, event: AuditEvent) -> None:
        """See ``AuditTrail.append``; never duplicated, since each call is another record."""
        await self._world.effect("registry.append", lambda: self._real.append(event), repeatable=False)

    async def records(self, *, after: int = 0, limit: int = 1000) -> Sequence[AuditRecord]:
        """See ``AuditTrail.records``."""
        return await self._world.effect(
            "registry.records", lambda: self._real.records(after=after, limit=limit)
        )


class FaultyRenewingRegistry(FaultyRegistry):
    """Implements ``keyborn.ports.RenewingRegistry`` over a real one."""

    def __init__(self, real: RenewingRegistry, world: Effects) -> None:
        super().__init__(real, world)
        self._renewing = real

    async def renew(self, attempt: RenewalAttempt) -> Verdict:
        """See ``Renewals.renew``."""
        return await self._world.effect("registry.renew", lambda: self._renewing.renew(attempt))

    async def confirm(self, confirmation: Confirmation) -> Certificate:
        """See ``Renewals.confirm``."""
        return await self._world.effect("registry.confirm", lambda: self._renewing.confirm(confirmation))

    async def overdue(self, *, before: datetime, at: datetime, limit: int = 100) -> Sequence[Certificate]:
        """See ``Successors.overdue``."""
        return await self._world.effect(
            "registry.overdue", lambda: self._renewing.overdue(before=before, at=at, limit=limit)
        )

    async def withdraw_successor(self, certificate: CertificateId, event: AuditEvent) -> bool:
        """See ``Successors.withdraw_successor``."""
        return await self._world.effect(
            "registry.withdraw_successor", lambda: self._renewing.withdraw_successor(certificate, event)
        )

    async def set_grace(self, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
        """See ``Grace.set_grace``."""
        return await self._world.effect(
            "registry.set_grace", lambda: self._renewing.set_grace(name, until, event)
        )


class FaultyBeliefs:
    """Implements ``keyborn.ports.TrustReports``, ``Beliefs`` and ``Holders`` over real ones."""

    def __init__(self, real: Believing, world: Effects) -> None:
        self._real = real
        self._world = world

    async def note_roots(self, certificate: CertificateId, roots: RootSet, at: datetime) -> None:
        """See ``TrustReports.note_roots``."""
        await self._world.effect("registry.note_roots", lambda: self._real.note_roots(certificate, roots, at))

    async def belief(self, name: ThingName) -> Belief:
        """See ``Beliefs.belief``."""
        return await self._world.effect("registry.belief", lambda: self._real.belief(name))

    async def root_sets(self) -> Sequence[tuple[RootSet | None, int]]:
        """See ``Beliefs.root_sets``."""
        return await self._world.effect("registry.root_sets", self._real.root_sets)

    async def lacking(
        self, roots: RootSet, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[Belief]:
        """See ``Beliefs.lacking``."""
        return await self._world.effect(
            "registry.lacking", lambda: self._real.lacking(roots, after=after, limit=limit)
        )

    async def count_holders(self, issuer: bytes, at: datetime) -> int:
        """See ``Holders.count_holders``."""
        return await self._world.effect(
            "registry.count_holders", lambda: self._real.count_holders(issuer, at)
        )

    async def holders(
        self, issuer: bytes, at: datetime, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[ThingName]:
        """See ``Holders.holders``."""
        return await self._world.effect(
            "registry.holders", lambda: self._real.holders(issuer, at, after=after, limit=limit)
        )


class FaultyCheckpoints:
    """Implements ``keyborn.ports.Checkpoints`` over a real one."""

    def __init__(self, real: Checkpoints, world: Effects) -> None:
        self._real = real
        self._world = world

    async def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """See ``Checkpoints.add_checkpoint``."""
        await self._world.effect("registry.add_checkpoint", lambda: self._real.add_checkpoint(checkpoint))

    async def latest_checkpoint(self) -> Checkpoint | None:
        """See ``Checkpoints.latest_checkpoint``."""
        return await self._world.effect("registry.latest_checkpoint", self._real.latest_checkpoint)

    async def checkpoints(self, *, after: int = 0, limit: int = 1000) -> Sequence[Checkpoint]:
        """See ``Checkpoints.checkpoints``."""
        return await self._world.effect(
            "registry.checkpoints", lambda: self._real.checkpoints(after=after, limit=limit)
        )


class FaultyKeys:
    """Implements ``keyborn.ports.KeyRegistry`` over a real one."""

    def __init__(self, real: KeyRegistry, world: Effects) -> None:
        self._real = real
        self._world = world

    async def add_api_key(self, key: ApiKey, event: AuditEvent) -> None:
        """See ``ApiKeys.add_api_key``."""
        await self._world.effect("registry.add_api_key", lambda: self._real.add_api_key(key, event))

    async def api_key(self, key: ApiKeyId) -> ApiKey | None:
        """See ``ApiKeys.api_key``."""
        return await self._world.effect("registry.api_key", lambda: self._real.api_key(key))

    async def withdraw_api_key(self, key: ApiKeyId, event: AuditEvent) -> ApiKey:
        """See ``ApiKeys.withdraw_api_key``."""
        return await self._world.effect(
            "registry.withdraw_api_key", lambda: self._real.withdraw_api_key(key, event)
        )

    async def api_keys(self, *, after: ApiKeyId | None = None, limit: int = 100) -> Sequence[ApiKey]:
        """See ``ApiKeyList.api_keys``."""
        return await self._world.effect(
            "registry.api_keys", lambda: self._real.api_keys(after=after, limit=limit)
        )


class FaultyScale:
    """Implements ``keyborn.ports.Searches``, ``Censuses`` and ``Pruning`` over real ones."""

    def __init__(self, real: Scale, world: Effects) -> None:
        self._real = real
        self._world = world

    async def find_things(
        self,
        search: Search,
        *,
        kind: ThingKind = ThingKind.DEVICE,
        after: ThingName | None = None,
        limit: int = 100,
    ) -> Sequence[Thing]:
        """See ``Searches.find_things``."""
        return await self._world.effect(
            "registry.find_things",
            lambda: self._real.find_things(search, kind=kind, after=after, limit=limit),
        )

    async def census(self, at: datetime) -> Census:
        """See ``Censuses.census``."""
        return await self._world.effect("registry.census", lambda: self._real.census(at))

    async def due(self, *, before: datetime, after: str | None = None, limit: int = 200) -> Pruned:
        """See ``Pruning.due``."""
        return await self._world.effect(
            "registry.due", lambda: self._real.due(before=before, after=after, limit=limit)
        )

    async def prune(
        self, event: AuditEvent, *, before: datetime, after: str | None = None, limit: int = 200
    ) -> Pruned:
        """See ``Pruning.prune``; said twice, the second finds nothing to remove and appends nothing."""
        return await self._world.effect(
            "registry.prune", lambda: self._real.prune(event, before=before, after=after, limit=limit)
        )
