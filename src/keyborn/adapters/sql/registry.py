"""The registry on SQLite, as the ports see it: writes go to the one writer, reads past it."""

import asyncio
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from keyborn.adapters.sql import believing, ending, enrolling, policies, renewing, rows, schema, vouching
from keyborn.adapters.sql.api_keys import ApiKeyTable
from keyborn.adapters.sql.backfill import Backfill
from keyborn.adapters.sql.claiming import Claiming
from keyborn.adapters.sql.granting import Granting
from keyborn.adapters.sql.group_tables import GroupTables
from keyborn.adapters.sql.reads import Reader
from keyborn.adapters.sql.scale_tables import ScaleTables
from keyborn.adapters.sql.session import Session
from keyborn.adapters.sql.writer import Counters, Writer
from keyborn.domain.access import Badge
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.audit import AuditEvent, AuditRecord
from keyborn.domain.certificate import Certificate
from keyborn.domain.checkpoint import Checkpoint
from keyborn.domain.enrollment import Attempt, Outcome, Verdict
from keyborn.domain.errors import RegistryUnavailable, RegistryUnusable
from keyborn.domain.granting import GrantListener, unheard
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import Confirmation, RenewalAttempt
from keyborn.domain.roots import Belief, RootSet
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken, TokenId, TokenUse
from keyborn.ports import ClaimSource, Signer, page_size


class SqliteRegistry(GroupTables, ApiKeyTable, ScaleTables):
    """Implements ``ports.GroupingRegistry``; use it as an async context manager, or open and close it.

    Before ``open`` and after ``close`` every method raises RegistryUnavailable.
    """

    def __init__(
        self,
        path: Path,
        *,
        signer: Signer | None = None,
        on_grant: GrantListener = unheard,
        waiting_limit: int = 4096,
        batch_limit: int = 128,
        claims: ClaimSource | None = None,
    ) -> None:
        """``waiting_limit`` commands may queue, ``batch_limit`` share a commit. Touches no file yet.

        ``signer``: what a claim decides is signed and made active at once; None: its caller sees to that.
        ``on_grant`` hears the steps of that, in the writer's thread. ``claims``: where more come from.
        """
        self._path = path
        self._claim = enrolling.claim if signer is None else Granting(signer.sign, on_grant).claim
        self._backfill = Backfill(lambda: schema.connect_backfill(path))
        self._writer = Writer(
            lambda: schema.connect_writer(path),
            waiting_limit=waiting_limit,
            batch_limit=batch_limit,
            backfill=self._backfill,
            source=None if claims is None else Claiming(claims, self._claim),
        )
        self._lookups = Reader(path)
        self._pages = Reader(path)

    async def open(self) -> None:
        """Create or migrate the file, then take commands; once in the life of this object.

        Raises RegistryTooNew or RegistryUnusable.
        """
        await asyncio.to_thread(schema.prepare, self._path)
        self._writer.start()
        try:
            await self._writer.run(Session.ready)  # the write-ahead log exists before readers look for it
            self._lookups.open()
            self._pages.open()
        except (sqlite3.Error, RegistryUnavailable) as error:
            await self.close()
            raise RegistryUnusable(path=self._path, detail=error) from error

    async def close(self) -> None:
        """Finish every queued command, then release the file. Repeating is harmless."""
        await self._writer.close()
        self._lookups.close()
        self._pages.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def counters(self) -> Counters:
        """Commands, commits and failures since it was opened."""
        return self._writer.counters

    @property
    def waiting(self) -> int:
        """How many commands wait for the writer."""
        return self._writer.waiting

    async def prove_writable(self, at: datetime) -> None:
        """Write one row that means nothing, durably; raises RegistryUnavailable where that cannot be done."""
        await self._writer.run(lambda session: ending.beat(session, at))

    # ── enrolment ─────────────────────────────────────────────────────────────────────────────────────

    async def claim(self, attempt: Attempt) -> Outcome:
        """See ``Enrollments.claim``."""
        return await self._writer.run(lambda session: self._claim(session, attempt))

    async def store(self, intent: Intent, certificate: Certificate) -> Certificate:
        """See ``Enrollments.store``."""
        return await self._writer.run(lambda session: enrolling.store(session, intent, certificate))

    async def activate(self, intent: IntentId, event: AuditEvent) -> Certificate:
        """See ``Enrollments.activate``."""
        return await self._writer.run(lambda session: enrolling.activate(session, intent, event))

    # ── tokens ────────────────────────────────────────────────────────────────────────────────────────

    async def add(self, token: EnrollmentToken, event: AuditEvent) -> None:
        """See ``Tokens.add``."""
        await self._writer.run(lambda session: ending.add_token(session, token, event))

    async def find(self, token: TokenId) -> EnrollmentToken | None:
        """See ``Tokens.find``."""
        found = self._lookups.one(rows.token_use, rows.TOKENS + "WHERE id = ?", token)
        return None if found is None else found.token

    async def withdraw(self, token: TokenId, event: AuditEvent) -> EnrollmentToken:
        """See ``Tokens.withdraw``."""
        return await self._writer.run(lambda session: ending.withdraw_token(session, token, event))

    async def tokens(self, *, after: TokenId | None = None, limit: int = 100) -> Sequence[TokenUse]:
        """See ``TokenList.tokens``."""
        return await self._pages.page(
            rows.listed_use,
            rows.TOKENS + "WHERE id > ? ORDER BY id LIMIT ?",
            after or "",
            page_size(limit),
        )

    # ── the fleet ─────────────────────────────────────────────────────────────────────────────────────

    async def thing(self, name: ThingName) -> Thing | None:
        """See ``Fleet.thing``."""
        return self._lookups.one(rows.thing, rows.THINGS + "WHERE name = ?", name)

    async def things(
        self, *, kind: ThingKind = ThingKind.DEVICE, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[Thing]:
        """See ``Fleet.things``."""
        return await self._pages.page(
            rows.thing,
            rows.THINGS_OF[kind] + "AND name > ? ORDER BY name LIMIT ?",
            after or "",
            page_size(limit),
        )

    async def certificates(self, name: ThingName) -> Sequence[Certificate]:
        """See ``Fleet.certificates``."""
        return await self._pages.page(
            rows.certificate,
            rows.CERTIFICATES + "WHERE thing = ? ORDER BY number",
            name,
        )

    async def set_status(self, name: ThingName, status: ThingStatus, event: AuditEvent) -> Thing:
        """See ``Lifecycle.set_status``."""
        return await self._writer.run(lambda session: ending.set_status(session, name, status, event))

    # ── the broker ────────────────────────────────────────────────────────────────────────────────────

    async def certificate(self, certificate: CertificateId) -> Certificate | None:
        """See ``DeviceDirectory.certificate``."""
        return self._lookups.one(rows.certificate, rows.CERTIFICATES + "WHERE id = ?", certificate)

    async def badge(self, certificate: CertificateId) -> Badge | None:
        """See ``DeviceDirectory.badge``."""
        return self._lookups.snapshot(lambda ask: policies.badge(ask, certificate))

    async def connected(self, certificate: CertificateId, at: datetime) -> Certificate:
        """See ``DeviceDirectory.connected``."""
        return await self._writer.run(lambda session: ending.connected(session, certificate, at))

    # ── renewal ───────────────────────────────────────────────────────────────────────────────────────

    async def renew(self, attempt: RenewalAttempt) -> Verdict:
        """See ``Renewals.renew``."""
        return await self._writer.run(lambda session: renewing.renew(session, attempt))

    async def confirm(self, confirmation: Confirmation) -> Certificate:
        """See ``Renewals.confirm``."""
        return await self._writer.run(lambda session: renewing.confirm(session, confirmation))

    async def overdue(self, *, before: datetime, at: datetime, limit: int = 100) -> Sequence[Certificate]:
        """See ``Successors.overdue``."""
        now = rows.to_ms(at)
        return await self._pages.page(
            rows.certificate, renewing.OVERDUE, rows.to_ms(before), now, now, page_size(limit)
        )

    async def withdraw_successor(self, certificate: CertificateId, event: AuditEvent) -> bool:
        """See ``Successors.withdraw_successor``."""
        return await self._writer.run(lambda session: renewing.withdraw(session, certificate, event))

    async def set_grace(self, name: ThingName, until: datetime | None, event: AuditEvent) -> Thing:
        """See ``Grace.set_grace``."""
        return await self._writer.run(lambda session: renewing.set_grace(session, name, until, event))

    # ── roots ─────────────────────────────────────────────────────────────────────────────────────────

    async def note_roots(self, certificate: CertificateId, roots: RootSet, at: datetime) -> None:
        """See ``TrustReports.note_roots``."""
        await self._writer.run(lambda session: believing.note(session, certificate, roots, at))

    async def belief(self, name: ThingName) -> Belief:
        """See ``Beliefs.belief``."""
        return self._lookups.one(believing.belief, believing.BELIEF, name) or Belief(name)

    async def root_sets(self) -> Sequence[tuple[RootSet | None, int]]:
        """See ``Beliefs.root_sets``."""
        return await self._pages.page(believing.count, believing.SETS)

    async def lacking(
        self, roots: RootSet, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[Belief]:
        """See ``Beliefs.lacking``."""
        return await self._pages.page(
            believing.belief, believing.LACKING, roots, after or "", page_size(limit)
        )

    async def count_holders(self, issuer: bytes, at: datetime) -> int:
        """See ``Holders.count_holders``."""
        [count] = await self._pages.page(believing.number, believing.COUNT_HOLDERS, rows.to_ms(at), issuer)
        return count

    async def holders(
        self, issuer: bytes, at: datetime, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[ThingName]:
        """See ``Holders.holders``."""
        return await self._pages.page(
            rows.thing_name, believing.HOLDERS, rows.to_ms(at), issuer, after or "", page_size(limit)
        )

    # ── access policies ───────────────────────────────────────────────────────────────────────────────

    async def put_policy(self, policy: AccessPolicy, event: AuditEvent) -> AccessPolicy:
        """See ``AccessPolicies.put_policy``."""
        return await self._writer.run(lambda session: policies.put_policy(session, policy, event))

    async def policy(self, name: PolicyName) -> AccessPolicy | None:
        """See ``AccessPolicies.policy``."""
        return self._lookups.one(rows.policy, rows.POLICIES + "WHERE name = ?", name)

    async def remove_policy(self, name: PolicyName, event: AuditEvent) -> None:
        """See ``AccessPolicies.remove_policy``."""
        await self._writer.run(lambda session: policies.remove_policy(session, name, event))

    async def policies(self, *, after: PolicyName | None = None, limit: int = 100) -> Sequence[AccessPolicy]:
        """See ``PolicyList.policies``."""
        return await self._pages.page(
            rows.policy,
            rows.POLICIES + "WHERE name > ? ORDER BY name LIMIT ?",
            after or "",
            page_size(limit),
        )

    async def attach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.attach_policy``."""
        return await self._writer.run(lambda session: policies.attach_policy(session, name, policy, event))

    async def detach_policy(self, name: ThingName, policy: PolicyName, event: AuditEvent) -> Thing:
        """See ``PolicyUse.detach_policy``."""
        return await self._writer.run(lambda session: policies.detach_policy(session, name, policy, event))

    async def users(
        self, policy: PolicyName, *, after: ThingName | None = None, limit: int = 100
    ) -> Sequence[ThingName]:
        """See ``PolicyUse.users``."""
        return await self._pages.page(
            rows.thing_name,
            policies.USERS + "AND name > ? ORDER BY name LIMIT ?",
            rows.quoted(policy),
            after or "",
            page_size(limit),
        )

    # ── what crashed enrolments left, and the trail ───────────────────────────────────────────────────

    async def leftovers(self, *, before: datetime, limit: int = 100) -> Sequence[Intent]:
        """See ``Leftovers.leftovers``."""
        return await self._pages.page(
            rows.intent,
            rows.INTENTS + "WHERE created_at < ? ORDER BY created_at, id LIMIT ?",
            rows.to_ms(before),
            page_size(limit),
        )

    async def drop(self, intent: IntentId, event: AuditEvent) -> bool:
        """See ``Leftovers.drop``."""
        return await self._writer.run(lambda session: ending.drop(session, intent, event))

    async def append(self, event: AuditEvent) -> None:
        """See ``AuditTrail.append``."""
        await self._writer.run(lambda session: session.chain(event))

    async def records(self, *, after: int = 0, limit: int = 1000) -> Sequence[AuditRecord]:
        """See ``AuditTrail.records``."""
        return await self._pages.page(
            rows.audit_record,
            rows.AUDIT + "WHERE sequence > ? ORDER BY sequence LIMIT ?",
            after,
            page_size(limit),
        )

    async def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """See ``Checkpoints.add_checkpoint``."""
        await self._writer.run(lambda session: vouching.add(session, checkpoint))

    async def latest_checkpoint(self) -> Checkpoint | None:
        """See ``Checkpoints.latest_checkpoint``."""
        return self._lookups.one(vouching.checkpoint, vouching.LATEST)

    async def checkpoints(self, *, after: int = 0, limit: int = 1000) -> Sequence[Checkpoint]:
        """See ``Checkpoints.checkpoints``."""
        return await self._pages.page(vouching.checkpoint, vouching.PAGE, after, page_size(limit))
