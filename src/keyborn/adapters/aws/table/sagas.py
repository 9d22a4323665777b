"""The saga's side of the registry on DynamoDB: enrolment, renewal, leases. What blocks runs in threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from keyborn.adapters.aws.calls import Patience, Rounds, Service
from keyborn.adapters.aws.table import enrolling, filing, keys, leasing, renewing
from keyborn.adapters.aws.table.draft import Draft
from keyborn.adapters.aws.table.items import Waiting
from keyborn.adapters.aws.table.memo import Memo, Remembered
from keyborn.adapters.aws.table.renewing import Confirmed, Renewed
from keyborn.adapters.aws.table.table import Table
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate
from keyborn.domain.enrollment import Attempt, Issue, Verdict
from keyborn.domain.errors import EnrollmentInterrupted, RegistryUnavailable, Unavailable
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.renewal import Confirmation, RenewalAttempt
from keyborn.domain.thing import Thing

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


class DynamoSagas:
    """Implements ``keyborn.ports.Enrollments``, ``Renewals`` and ``Leases`` on one table.

    Use it as an async context manager, or close it; after that every method raises RegistryUnavailable.
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
        claim = partial(enrolling.claim, attempt=attempt, lease=self._lease, ours=not self._own_dates)
        operation = partial(_as_renewed, claim)
        return (await self._leased(operation, leasing.holder_of(attempt), enrolling.fresh(attempt))).verdict

    async def renew(self, attempt: RenewalAttempt) -> Verdict:
        """See ``Renewals.renew``; with leases as in ``claim``."""
        return (await self._renew(attempt)).verdict

    async def _renew(self, attempt: RenewalAttempt) -> Renewed:
        operation = partial(renewing.renew, attempt=attempt, lease=self._lease, ours=not self._own_dates)
        return await self._leased(operation, leasing.holder_of(attempt), {})

    async def _leased(self, operation: Callable[[Draft], Renewed], holder: str, guess: Remembered) -> Renewed:
        """Run a claim; who has the lease on what it would resume is waited for."""
        rounds = Rounds(_LEASE_PATIENCE)
        while True:
            done = await self._ask(partial(self._claim, operation, guess))
            if done is not None and isinstance(done.verdict, Issue) and self._lease:
                _holding.set((done.verdict.intent.id, holder))
            if done is not None:
                return done
            # Who waits holds no thread: the one that is waited for may need it.
            span = rounds.span()
            if span is None:
                raise EnrollmentInterrupted
            await asyncio.sleep(span)
            guess = {}

    def _claim(self, operation: Callable[[Draft], Renewed], guess: Remembered) -> Renewed | None:
        """None while another process holds the lease."""
        try:
            done = self._table.run_keeping(operation, guess)
        except leasing.AtWork:
            return None
        except leasing.NotLookedAt as died:
            raise EnrollmentInterrupted(seconds=_AFTER_DEATH) from died
        if isinstance(done.result.verdict, Issue):
            self._memo.keep(done.result.verdict.intent.id, done.left)
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

    async def confirm(self, confirmation: Confirmation) -> Certificate:
        """See ``Renewals.confirm``."""
        return (await self._confirm(confirmation)).certificate

    async def _confirm(self, confirmation: Confirmation) -> Confirmed:
        return await self._run(lambda draft: renewing.confirm(draft, confirmation))

    # ── leases ────────────────────────────────────────────────────────────────────────────────────────

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


def _flight(draft: Draft, intent: IntentId) -> Flight | None:
    found = filing.opened(draft, intent)
    if found is None:
        return None
    dossier, waiting = found
    staged = None if waiting.staged is None else enrolling.with_der(draft, waiting.staged)
    return Flight(waiting.intent, dossier.thing, staged, unheard_of=dossier.unheard_of)


def _as_renewed(claim: Callable[[Draft], Verdict], draft: Draft) -> Renewed:
    return Renewed(claim(draft))
