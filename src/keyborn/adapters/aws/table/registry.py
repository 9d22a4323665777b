"""The registry on DynamoDB, as the ports see it: questions, orders, what is left, beside its sagas."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from keyborn.adapters.aws.table import (
    ending,
    items,
    keys,
    outbox,
    policies,
    reads,
    renewing,
    sightings,
    tokens,
    trail,
    vouching,
)
from keyborn.adapters.aws.table.grouping import DynamoGrouping
from keyborn.adapters.aws.table.items import Waiting
from keyborn.adapters.aws.table.outbox import Dirt, Owed
from keyborn.adapters.aws.table.searching import DynamoSearches
from keyborn.adapters.aws.table.sightings import Sighting
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.access import Badge
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.audit import AuditEvent, AuditRecord, ChainHead
from keyborn.domain.certificate import Certificate
from keyborn.domain.checkpoint import Checkpoint
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId, TokenUse
from keyborn.ports import page_size

_CLOCKS = timedelta(hours=1)
"""How far apart the clocks of instances and of DynamoDB are at most: nothing spent is forgotten too early."""


class DynamoRegistry(DynamoGrouping, DynamoSearches):
    """Implements ``keyborn.ports.GroupingRegistry`` on one table; it makes no call to AWS IoT.

    What AWS IoT has to follow is in ``owed`` and ``dirt``.
    """

    # ── what is under way ─────────────────────────────────────────────────────────────────────────────

    async def waiting(self, *, limit: int = 100) -> Sequence[Waiting]:
        """Open intents with their leases and what is stored for them, oldest first."""
        return await self._ask(lambda: reads.waiting(self._table, page_size(limit)))

    async def waiting_for(self, names: Iterable[ThingName]) -> Sequence[Waiting]:
        """The open intents of these things, however many others there are."""
        asked = list(names)
        return await self._ask(lambda: reads.waiting_for(self._table, asked))

    async def known(self, certificates: Iterable[CertificateId]) -> set[CertificateId]:
        """Those of them that the table knows, whatever their status."""
        asked = list(certificates)
        return await self._ask(lambda: reads.known(self._table, asked))

    # ── tokens ────────────────────────────────────────────────────────────────────────────────────────

    async def add(self, token: EnrollmentToken, event: AuditEvent) -> None:
        """See ``Tokens.add``."""
        await self._run(lambda draft: tokens.add(draft, token, event))

    async def find(self, token: TokenId) -> EnrollmentToken | None:
        """See ``Tokens.find``."""
        return await self._ask(lambda: tokens.find(self._table, token))

    async def withdraw(self, token: TokenId, event: AuditEvent) -> EnrollmentToken:
        """See ``Tokens.withdraw``."""
        return await self._run(lambda draft: tokens.withdraw(draft, token, event))

    async def seal_key(self) -> bytes | None:
        """See ``SealKeys.seal_key``."""
        item = await self._ask(lambda: self._table.get(keys.SEAL))
        return None if item is None else item["key"]

    async def make_seal_key(self, fresh: bytes) -> bytes:
        """See ``SealKeys.make_seal_key``."""
        return await self._run(lambda draft: tokens.make_seal_key(draft, fresh))

    async def tokens(self, *, after: TokenId | None = None, limit: int = 100) -> Sequence[TokenUse]:
        """See ``TokenList.tokens``."""
        found = await self._page(keys.TOKENS, after=after, limit=limit)
        return [items.token_use(item) for item in found]

    async def _page(self, partition: str, *, after: str | None, limit: int) -> Sequence[Item]:
        most = page_size(limit)
        return await self._ask(lambda: list(self._table.query(partition, after=after or "", limit=most)))

    # ── the fleet ─────────────────────────────────────────────────────────────────────────────────────

    async def thing(self, name: ThingName) -> Thing | None:
        """See ``Fleet.thing``."""
        return await self._ask(lambda: reads.thing(self._table, name))

    async def things(
        self, *, kind: ThingKind = ThingKind.DEVICE, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[Thing]:
        """See ``Fleet.things``."""
        found = await self._page(kind.value, after=after, limit=limit)
        return [items.thing_of(item) for item in found]

    async def certificates(self, name: ThingName) -> Sequence[Certificate]:
        """See ``Fleet.certificates``."""
        return await self._ask(lambda: reads.certificates(self._table, name))

    async def set_status(self, name: ThingName, status: ThingStatus, event: AuditEvent) -> Thing:
        """See ``Lifecycle.set_status``."""
        return await self._run(lambda draft: ending.set_status(draft, name, status, event))

    # ── the broker ────────────────────────────────────────────────────────────────────────────────────

    async def certificate(self, certificate: CertificateId) -> Certificate | None:
        """See ``DeviceDirectory.certificate``."""
        return await self._ask(lambda: reads.certificate(self._table, certificate))

    async def badge(self, certificate: CertificateId) -> Badge | None:
        """See ``DeviceDirectory.badge``."""
        return await self._ask(lambda: reads.badge(self._table, certificate))

    async def connected(self, certificate: CertificateId, at: datetime) -> Certificate:
        """See ``DeviceDirectory.connected``."""
        return await self._run(lambda draft: ending.connected(draft, certificate, at))

    # ── access policies ───────────────────────────────────────────────────────────────────────────────

    async def put_policy(self, policy: AccessPolicy, event: AuditEvent) -> AccessPolicy:
        """See ``AccessPolicies.put_policy``."""
        return await self._run(lambda draft: policies.put_policy(draft, policy, event))

    async def policy(self, name: PolicyName) -> AccessPolicy | None:
        """See ``AccessPolicies.policy``."""
        item = await self._ask(lambda: self._table.get(keys.policy(name)))
        return None if item is None else items.policy(item)

    async def remove_policy(self, name: PolicyName, event: AuditEvent) -> None:
        """See ``AccessPolicies.remove_policy``."""
        await self._run(lambda draft: policies.remove_policy(draft, self._table, name, event))

    async def policies(self, *, after: PolicyName | None = None, limit: int = 100) -> Sequence[AccessPolicy]:
        """See ``PolicyList.policies``."""
        return [items.policy(item) for item in await self._page(keys.POLICIES, after=after, limit=limit)]

    async def attach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.attach_policy``."""
        return await self._run(lambda draft: policies.attach_policy(draft, name, policy, event))

    async def detach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.detach_policy``."""
        return await self._run(lambda draft: policies.detach_policy(draft, name, policy, event))

    async def users(
        self, policy: PolicyName, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[ThingName]:
        """See ``PolicyUse.users``."""
        found = await self._page(keys.users_of(policy), after=after, limit=limit)
        return [ThingName(item["sk"]) for item in found]

    # ── what crashed enrolments left ──────────────────────────────────────────────────────────────────

    async def leftovers(self, *, before: datetime, limit: int = 100) -> Sequence[Intent]:
        """See ``Leftovers.leftovers``."""
        bound, most = keys.sortable(before), page_size(limit)
        found = await self._ask(lambda: list(self._table.query(keys.OPEN, before=bound, limit=most)))
        return [items.intent(item) for item in found]

    async def drop(self, intent: IntentId, event: AuditEvent) -> bool:
        """See ``Leftovers.drop``."""
        return await self._run(lambda draft: ending.drop(draft, intent, event))

    # ── renewals that wait, and grace ─────────────────────────────────────────────────────────────────

    async def overdue(self, *, before: datetime, at: datetime, limit: int = 100) -> Sequence[Certificate]:
        """See ``Successors.overdue``."""
        return await self._ask(lambda: renewing.overdue(self._table, before, at, page_size(limit)))

    async def withdraw_successor(self, certificate: CertificateId, event: AuditEvent) -> bool:
        """See ``Successors.withdraw_successor``."""
        return await self._run(lambda draft: renewing.withdraw(draft, certificate, event))

    async def set_grace(self, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
        """See ``Grace.set_grace``."""
        return await self._run(lambda draft: renewing.set_grace(draft, name, until, event))

    async def spend(self, nonce: bytes, until: datetime) -> bool:
        """Note that a nonce is spent, for a while longer than ``until``; False if it was spent before."""
        item = {"ttl": int((until + _CLOCKS).timestamp())}
        return await self._ask(lambda: self._table.put_new(keys.nonce(nonce), item))

    # ── the trail ─────────────────────────────────────────────────────────────────────────────────────

    async def append(self, event: AuditEvent) -> None:
        """See ``AuditTrail.append``."""
        await self._ask(lambda: trail.append(self._table, event))

    async def records(self, *, after: int = 0, limit: int = 1000) -> Sequence[AuditRecord]:
        """See ``AuditTrail.records``; what lies unchained is chained first."""
        return await self._ask(lambda: trail.records(self._table, after, page_size(limit)))

    async def chain(self) -> ChainHead:
        """Chain what lies unchained; where the trail ends now."""
        return await self._ask(lambda: trail.chain(self._table))

    async def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """See ``Checkpoints.add_checkpoint``."""
        await self._ask(lambda: vouching.add(self._table, checkpoint))

    async def latest_checkpoint(self) -> Checkpoint | None:
        """See ``Checkpoints.latest_checkpoint``."""
        return await self._ask(lambda: vouching.latest(self._table))

    async def checkpoints(self, *, after: int = 0, limit: int = 1000) -> Sequence[Checkpoint]:
        """See ``Checkpoints.checkpoints``."""
        return await self._ask(lambda: vouching.page(self._table, after, page_size(limit)))

    async def notary_key(self) -> bytes | None:
        """The seed of the key that signs checkpoints; None before there is one. No enrolment may ask."""
        item = await self._ask(lambda: self._table.get(keys.NOTARY))
        return None if item is None else bytes(item["key"])

    async def make_notary_key(self, fresh: bytes, public: bytes) -> bytes:
        """Keep ``fresh`` and what is public of it, unless there is a key; returns the one that stands."""
        stamp = self._table.stamps.next()
        return await self._run(lambda draft: vouching.make_key(draft, fresh, public, stamp))

    async def notaries(self) -> Sequence[bytes]:
        """The public keys of all that ever signed here, the newest last."""
        return [bytes(item["public"]) for item in await self._page(keys.NOTARIES, after=None, limit=1000)]

    # ── towards AWS IoT ───────────────────────────────────────────────────────────────────────────────

    async def owed(
        self, *, before: datetime, of: ThingName | None = None, limit: int = 100
    ) -> Sequence[Owed]:
        """What AWS IoT has to be told and is due before a moment, earliest first; ``of``: about one thing."""
        return await self._ask(lambda: outbox.owed(self._table, before, page_size(limit), of))

    async def owe(self, thing: Thing, certificate: Certificate, due: datetime) -> None:
        """AWS IoT has to be told once more what ``certificate`` is, and the thing's sessions be seen to."""
        await self._run(lambda draft: outbox.owe_status(draft, thing, certificate, due))

    async def dirt(self, *, limit: int = 100) -> Sequence[Dirt]:
        """Intents for which a certificate may have been signed that nobody knows, oldest first."""
        return await self._ask(lambda: outbox.dirt(self._table, page_size(limit)))

    async def settle(self, done: Iterable[Owed | Dirt]) -> None:
        """Strike off what has been seen to; repeating is harmless. Needs the permission to delete."""
        struck = list(done)
        await self._ask(lambda: outbox.settle(self._table, struck))

    async def tidy(self, *, limit: int = 100) -> int:
        """Remove what closed intents left in the list of open ones; how many. Needs that permission, too."""
        return await self._ask(lambda: outbox.tidy(self._table, page_size(limit)))

    async def sightings(self, *, after: str = "", limit: int = 100) -> Sequence[Sighting]:
        """Who has connected, by certificate, behind a mark."""
        return await self._ask(lambda: sightings.sightings(self._table, after, page_size(limit)))

    async def news(self, seen: Sequence[Sighting]) -> Sequence[Sighting]:
        """Those of certificates that are known here and had not connected before."""
        return await self._ask(lambda: sightings.news(self._table, seen))

    async def strike(self, one: Sighting) -> None:
        """Take one off the list, unless it has connected again meanwhile. Needs the permission to delete."""
        await self._ask(lambda: sightings.strike(self._table, one))
