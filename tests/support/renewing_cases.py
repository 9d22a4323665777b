"""Short words for tests of renewal: registries that renew, attempts by a certificate's own key."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.audit import withdrawal
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Issue, Repeat
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import ThingName
from keyborn.domain.renewal import NO_TOKEN, Confirmation, RenewalAttempt
from keyborn.domain.thing import Thing
from keyborn.ports import RenewingRegistry
from support import ministack
from support.registry_cases import LIFETIME, Desk, certificate_for, event, key

Opener = Callable[[Path], AbstractAsyncContextManager[RenewingRegistry]]


@asynccontextmanager
async def in_memory(_folder: Path) -> AsyncIterator[RenewingRegistry]:
    """A registry in memory."""
    yield MemoryRegistry()


@asynccontextmanager
async def on_sqlite(folder: Path) -> AsyncIterator[RenewingRegistry]:
    """A registry in a file of ``folder``."""
    async with SqliteRegistry(folder / "registry.db") as registry:
        yield registry


@asynccontextmanager
async def on_dynamodb(_folder: Path) -> AsyncIterator[RenewingRegistry]:
    """A registry in a table of its own."""
    async with DynamoRegistry(ministack.dynamodb, ministack.new_table()) as registry:
        yield registry


RENEWING: dict[str, Opener] = {"memory": in_memory, "sqlite": on_sqlite, "dynamodb": on_dynamodb}
"""Every adapter that is held to the contract of renewal."""


@dataclass(slots=True)
class RenewingDesk(Desk):
    """A desk whose certificates renew."""

    @property
    def renewing(self) -> RenewingRegistry:
        """The registry, all sides of it."""
        return cast("RenewingRegistry", self.registry)

    def renewal(self, signer: Certificate, key_name: str) -> RenewalAttempt:
        """An attempt now, signed by the key of ``signer``."""
        number = next(self.numbers)
        second = self.now.replace(microsecond=0)
        proposal = Intent(
            IntentId(f"renewal-{number:06}"),
            signer.thing,
            key(key_name),
            NO_TOKEN,
            self.now,
            number,
            second,
            second + LIFETIME,
            Slot.SUCCESSOR,
            signer.id,
        )
        return RenewalAttempt(proposal, self.now, "192.0.2.1")

    async def claimed(self, signer: Certificate, key_name: str) -> Issue:
        """Claim a renewal that must be issued."""
        verdict = await self.renewing.renew(self.renewal(signer, key_name))
        assert isinstance(verdict, Issue)
        return verdict

    async def renew(self, signer: Certificate, key_name: str) -> Certificate:
        """The whole saga."""
        verdict = await self.renewing.renew(self.renewal(signer, key_name))
        if isinstance(verdict, Repeat):
            return verdict.certificate
        return await self.finish(verdict)

    async def finish(self, issue: Issue) -> Certificate:
        """Store and activate what ``issue`` recorded."""
        await self.renewing.store(issue.intent, certificate_for(issue.intent))
        return await self.renewing.activate(issue.intent.id, event("renew", issue.intent.thing, self.now))

    async def confirm(self, signer: Certificate) -> Certificate:
        """Confirm, signed by the key of ``signer``."""
        return await self.renewing.confirm(Confirmation(signer.id, self.now, "192.0.2.1"))

    async def overdue(self, after: timedelta) -> list[Certificate]:
        """Successors that have waited for longer than ``after``."""
        return list(await self.renewing.overdue(before=self.now - after, at=self.now))

    async def withdraw(self, successor: Certificate) -> bool:
        """What the sweeper does with one."""
        told = withdrawal(successor, self.now, "sweeper", "unconfirmed")
        return await self.renewing.withdraw_successor(successor.id, told)

    async def grace(self, name: str, until: datetime | None) -> Thing:
        """The operator grants grace, or ends it."""
        told = event("thing.grace", name, self.now)
        return await self.renewing.set_grace(ThingName(name), until, told)

    async def look(self, certificate: Certificate) -> Certificate:
        """The certificate as it is now."""
        found = await self.registry.certificate(certificate.id)
        assert found is not None
        return found

    async def active(self, name: str) -> list[Certificate]:
        """A thing's active certificates."""
        held = await self.registry.certificates(ThingName(name))
        return [one for one in held if one.status is CertificateStatus.ACTIVE]

    async def actions(self) -> list[str]:
        """What the trail says was done, in order."""
        return [record.event.action for record in await self.registry.records(limit=1000)]


def as_current(successor: Certificate) -> Certificate:
    """A successor, confirmed."""
    return replace(successor, slot=Slot.CURRENT)
