"""The registry on DynamoDB, as the ports see it: what blocks runs in threads of its own."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from keyborn.adapters.aws.calls import Patience, Rounds, Service
from keyborn.adapters.aws.table import (
    ending,
    enrolling,
    filing,
    items,
    keys,
    leasing,
    outbox,
    policies,
    reads,
    sightings,
    tokens,
    trail,
)
from keyborn.adapters.aws.table.draft import Draft
from keyborn.adapters.aws.table.items import Waiting
from keyborn.adapters.aws.table.memo import Memo, Remembered
from keyborn.adapters.aws.table.outbox import Dirt, Owed
from keyborn.adapters.aws.table.sightings import Sighting
from keyborn.adapters.aws.table.table import Table
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.access import Badge
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.audit import AuditEvent, AuditRecord, ChainHead
from keyborn.domain.certificate import Certificate
from keyborn.domain.enrollment import Attempt, Issue, Verdict
from keyborn.domain.errors import EnrollmentInterrupted, RegistryUnavailable, Unavailable
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId, TokenUse
from keyborn.ports import page_size

T = TypeVar("T")

_NO_LEASE = timedelta(0)
_LEASE_PATIENCE = Patience(whole=3.0, first=0.1, longest=0.25)
_AFTER_DEATH = 20
"""Seconds: the sweeper comes each minute."""
_holding: ContextVar[tuple[IntentId, str] | None] = ContextVar("keyborn_holding", default=None)
"""The intent that this task has claimed, and its name among those who did."""


@dataclass(frozen=True, slots=True)
class Flight:
    """An enrolment under way: the record as it stands, and the certificate that was stored, if one was."""

    intent: Intent
    thing: Thing
    staged: Certificate | None
    unheard_of: bool = False
    """Whether nothing of that name has ever been enrolled here: a thing that it has is somebody else's."""


class DynamoRegistry:
    """Implements ``keyborn.ports.Registry`` on one table; it makes no call to AWS IoT.

    What AWS IoT has to follow is in ``owed`` and ``dirt``. Use it as an async context manager, or close it;
    after that every method raises RegistryUnavailable.
    """

    def __init__(
        self,
        client: object,
        table: str,
        *,
        own_dates: bool = False,
        lease: timedelta = _NO_LEASE,
        patience: Patience | None = None,
        threads: int = 16,
    ) -> None:
        """``client``: a botocore client for DynamoDB, or what makes one at the first call.

        ``own_dates``: the certificate authority chooses dates and serials. ``lease``: how long who claims is
        left alone with an intent; zero: anybody goes on with it at once. ``patience`` bounds each method.
        """
        patience = patience or Patience()
        service = Service(client, "dynamodb", patience=patience)
        self._table = Table(service, table, patience=patience)
        self._own_dates = own_dates
        self._lease = lease
        self._memo = Memo()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="keyborn-dynamodb")
        self._closed = False

    async def close(self) -> None:
        """Finish what is under way, then end the threads. Repeating is harmless."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, question: Callable[[], T]) -> T:
        """Run what blocks in a thread, under the deadline of whoever asks (``calls.within``)."""
        if self._closed:
            raise RegistryUnavailable
        return await asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, question)

    async def _run(self, operation: Callable[[Draft], T]) -> T:
        return await self._ask(lambda: self._table.run(operation))

    # ── enrolment ─────────────────────────────────────────────────────────────────────────────────────

    async def claim(self, attempt: Attempt) -> Verdict:
        """See ``Enrollments.claim``. One that is leased to another process is waited for, up to 3 s.

        One whose process died is first the sweeper's: raises EnrollmentInterrupted.
        """
        rounds, guess = Rounds(_LEASE_PATIENCE), enrolling.fresh(attempt)
        while True:
            verdict = await self._ask(partial(self._claim, attempt, guess))
            if isinstance(verdict, Issue) and self._lease:
                _holding.set((verdict.intent.id, leasing.holder_of(attempt)))
            if verdict is not None:
                return verdict
            # Who waits holds no thread: the one that is waited for may need it.
            span = rounds.span()
            if span is None:
                raise EnrollmentInterrupted
            await asyncio.sleep(span)
            guess = {}

    def _claim(self, attempt: Attempt, guess: Remembered) -> Verdict | None:
        """None while another process holds the lease."""
        operation = partial(enrolling.claim, attempt=attempt, lease=self._lease, ours=not self._own_dates)
        try:
            done = self._table.run_keeping(operation, guess)
        except leasing.AtWork:
            return None
        except leasing.NotLookedAt as died:
            raise EnrollmentInterrupted(seconds=_AFTER_DEATH) from died
        if isinstance(done.result, Issue):
            self._memo.keep(done.result.intent.id, done.left)
        return done.result

    async def store(self, intent: Intent, certificate: Certificate) -> Certificate:
        """See ``Enrollments.store``."""
        kept = enrolling.as_staged(intent, certificate, own_dates=self._own_dates)
        holder = self._holder(intent.id)
        return await self._ask(lambda: self._store(intent, kept, holder))

    @staticmethod
    def _holder(intent: IntentId) -> str | None:
        """Who this task is among the attempts at an intent; None if it has not claimed it."""
        mine = _holding.get()
        return mine[1] if mine is not None and mine[0] == intent else None

    def _store(self, intent: Intent, kept: Certificate, holder: str | None) -> Certificate:
        noted = keys.intent(intent.id)
        guess = {keys.certificate(kept.id): None, **self._memo.of(intent.id)}
        operation = partial(enrolling.store, one=intent, kept=kept, holder=holder)
        with leasing.interrupted_if_lost():
            done = self._table.run_keeping(operation, guess)
        known = guess.get(noted)
        if done.left and known is not None:
            self._memo.keep(intent.id, {**done.left, noted: {**known, "certificate": kept.id}})
        return done.result

    async def activate(self, intent: IntentId, event: AuditEvent) -> Certificate:
        """See ``Enrollments.activate``."""
        holder = self._holder(intent)
        return await self._ask(lambda: self._activate(intent, event, holder))

    def _activate(self, intent: IntentId, event: AuditEvent, holder: str | None) -> Certificate:
        operation = partial(enrolling.activate, one=intent, event=event, holder=holder)
        with leasing.interrupted_if_lost():
            active = self._table.run(operation, self._memo.of(intent))
        self._memo.forget(intent)
        return active

    async def flight(self, intent: IntentId) -> Flight | None:
        """An open intent with its thing and what is stored for it; None if it is not open."""
        return await self._ask(lambda: self._table.run(partial(_flight, intent=intent)))

    async def seize(self, intent: IntentId, holder: str, *, at: datetime, until: datetime) -> Waiting | None:
        """Have the lease of an open intent: renew it, or take what is over or was given back.

        None if the intent is not open or somebody else is at work. From now on nobody else stores or
        activates for it.
        """
        return await self._run(partial(leasing.seize, one=intent, holder=holder, at=at, until=until))

    async def release(self, intent: IntentId, holder: str, *, ended: datetime | None = None) -> bool:
        """Give a lease back, if ``holder`` has it: the next attempt need not wait. Whether it had.

        ``ended``: when the lease was over that the sweeper seized; of that attempt nothing is active now.
        """
        return await self._run(partial(leasing.release, one=intent, holder=holder, ended=ended))

    async def forgo(self, intent: Intent) -> None:
        """See ``Leases.forgo``."""
        operation = partial(leasing.forgo, one=intent.id, holder=self._holder(intent.id))
        with suppress(Unavailable):
            await self._ask(lambda: self._table.run(operation, self._memo.of(intent.id)))

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
        item = await self._ask(lambda: self._table.get(keys.token(token)))
        return None if item is None else items.token_use(item).token

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

    # ── what crashed enrolments left, and the trail ───────────────────────────────────────────────────

    async def leftovers(self, *, before: datetime, limit: int = 100) -> Sequence[Intent]:
        """See ``Leftovers.leftovers``."""
        bound, most = keys.sortable(before), page_size(limit)
        found = await self._ask(lambda: list(self._table.query(keys.OPEN, before=bound, limit=most)))
        return [items.intent(item) for item in found]

    async def drop(self, intent: IntentId, event: AuditEvent) -> bool:
        """See ``Leftovers.drop``."""
        return await self._run(lambda draft: ending.drop(draft, intent, event))

    async def append(self, event: AuditEvent) -> None:
        """See ``AuditTrail.append``."""
        await self._ask(lambda: trail.append(self._table, event))

    async def records(self, *, after: int = 0, limit: int = 1000) -> Sequence[AuditRecord]:
        """See ``AuditTrail.records``; what lies unchained is chained first."""
        return await self._ask(lambda: trail.records(self._table, after, page_size(limit)))

    async def chain(self) -> ChainHead:
        """Chain what lies unchained; where the trail ends now."""
        return await self._ask(lambda: trail.chain(self._table))

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


def _flight(draft: Draft, intent: IntentId) -> Flight | None:
    found = filing.opened(draft, intent)
    if found is None:
        return None
    dossier, waiting = found
    staged = None if waiting.staged is None else enrolling.with_der(draft, waiting.staged)
    return Flight(waiting.intent, dossier.thing, staged, unheard_of=dossier.unheard_of)
