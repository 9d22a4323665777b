"""Short words for tests of enrolment groups: two registries over one store, members, rates, approvals."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import cast

from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.applicant import Applicant
from keyborn.domain.approval import Approval, ApprovalState, approval_id
from keyborn.domain.audit import verify
from keyborn.domain.certificate import Certificate
from keyborn.domain.enrollment import Attempt, Granted, Issue, Repeat
from keyborn.domain.group import GroupDocument, Rate, Terms, account_of, window_of
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, NameScope, ThingName
from keyborn.domain.registered import Registered, RegisteredKey
from keyborn.domain.thing import Thing
from keyborn.domain.token import EnrollmentToken, TokenId
from keyborn.ports import GroupingRegistry
from support import ministack, plans
from support.registry_cases import HOUR, applicant, certificate_for, event, key, make_token, policy_names
from support.renewing_cases import RenewingDesk

LINE = GroupName("line-7")
OTHER = GroupName("line-8")
Two = tuple[GroupingRegistry, GroupingRegistry]
Opener = Callable[[Path], AbstractAsyncContextManager[Two]]


@asynccontextmanager
async def in_memory(_folder: Path) -> AsyncIterator[Two]:
    """One registry in memory, twice."""
    registry = MemoryRegistry()
    yield registry, registry


@asynccontextmanager
async def on_sqlite(folder: Path) -> AsyncIterator[Two]:
    """Two registries on one file, as two processes would open it."""
    path = folder / "registry.db"
    async with plans.watched(path, path) as (one, other):
        yield one, other


@asynccontextmanager
async def on_dynamodb(_folder: Path) -> AsyncIterator[Two]:
    """Two processes on one table."""
    table = ministack.new_table()
    one, other = (DynamoRegistry(ministack.dynamodb, table) for _ in range(2))
    async with one, other:
        yield one, other


GROUPING: dict[str, Opener] = {"memory": in_memory, "sqlite": on_sqlite, "dynamodb": on_dynamodb}
"""Every adapter that is held to the contract of groups: two of its registries over one store."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a group holds its members to."""

    limit: int | None = None
    rate: Rate | None = None
    group: GroupName = LINE
    thing_type: str | None = None

    def terms(self, now: datetime) -> Terms:
        """What an applicant carries to the claim."""
        window = None if self.rate is None else window_of(self.group, self.rate, now)
        return Terms(self.group, account_of(self.group), self.limit, window, thing_type=self.thing_type)


FREE = Rule()


def hourly(most: int) -> Rate:
    """At most so many an hour."""
    return Rate(most, HOUR)


def proving(name: str, pattern: str = "*", uses: int | None = None) -> Applicant:
    """Somebody whose credential proves itself: no registry has to know it."""
    return Applicant(Method.FACTORY, TokenId(f"f{name}"), NameScope(pattern), uses, is_known=False)


@dataclass(slots=True)
class GroupingDesk(RenewingDesk):
    """A desk whose things enrol under groups."""

    wishes: "count[int]" = field(default_factory=lambda: count(1))

    @property
    def grouping(self) -> GroupingRegistry:
        """The registry, all sides of it."""
        return cast("GroupingRegistry", self.registry)

    # ── members ───────────────────────────────────────────────────────────────────────────────────────

    def joining(
        self, who: EnrollmentToken | Applicant, thing: str, key_name: str, rule: Rule = FREE
    ) -> Attempt:
        """An attempt now, under a group's rule."""
        asks = who if isinstance(who, Applicant) else applicant(who)
        plain = self.attempt_of(asks.token, thing, key_name)
        return replace(plain, applicant=replace(asks, terms=rule.terms(self.now)))

    def attempt_of(self, account: TokenId, thing: str, key_name: str) -> Attempt:
        """An attempt now, whose intent is ``account``'s; whose it is otherwise, does not matter yet."""
        plain = self.attempt(make_token("nobody"), thing, key_name)
        return replace(plain, proposal=replace(plain.proposal, token=account))

    async def begin(
        self, who: EnrollmentToken | Applicant, thing: str, key_name: str, rule: Rule = FREE
    ) -> Issue:
        """Claim something that must be issued."""
        verdict = await self.registry.claim(self.joining(who, thing, key_name, rule))
        assert isinstance(verdict, Issue)
        return verdict

    async def join(
        self, who: EnrollmentToken | Applicant, thing: str, key_name: str, rule: Rule = FREE
    ) -> Certificate:
        """The whole saga."""
        verdict = await self.registry.claim(self.joining(who, thing, key_name, rule))
        if isinstance(verdict, Repeat | Granted):
            return verdict.certificate
        await self.registry.store(verdict.intent, certificate_for(verdict.intent))
        return await self.registry.activate(verdict.intent.id, self.done(thing))

    async def taken(self, group: GroupName = LINE) -> int:
        """How many pairs the group's account has."""
        [use] = [one for one in await self.grouping.groups(limit=1000) if one.document.name == group]
        return use.taken

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────

    async def put_group(
        self,
        group: str = LINE,
        text: str = "",
        *,
        policies: Sequence[str] = (),
        secret: bytes | None = None,
    ) -> GroupDocument:
        """Put a group whose text says ``text`` and its policies."""
        whole = f'name = "{group}"\n# {text} {" ".join(policies)}\n'
        document = GroupDocument(
            GroupName(group), whole, self.now, policies=policy_names(*policies), webhook_secret=secret
        )
        return await self.grouping.put_group(document, event("group.put", group, self.now))

    async def remove_group(self, group: str = LINE) -> None:
        """Forget a group."""
        await self.grouping.remove_group(GroupName(group), event("group.remove", group, self.now))

    async def release(self, thing: str, span: timedelta | None = HOUR) -> Thing:
        """Let another key be brought for ``span``; None ends that."""
        until = None if span is None else self.now + span
        return await self.grouping.set_release(
            ThingName(thing), until, event("thing.release", thing, self.now)
        )

    async def move(self, thing: str, group: str | None) -> Thing:
        """Put a thing under another group's rule."""
        told = event("thing.move", thing, self.now)
        return await self.grouping.set_group(
            ThingName(thing), None if group is None else GroupName(group), told
        )

    async def describe(self, thing: str, attributes: Mapping[str, str]) -> Thing:
        """Give a thing these attributes."""
        told = event("thing.set", thing, self.now)
        return await self.grouping.set_attributes(ThingName(thing), attributes, told)

    async def register(self, *keys: RegisteredKey) -> Registered:
        """Announce keys."""
        return await self.grouping.register(keys, event("registered.import", at=self.now))

    async def unregister(self, name: str) -> None:
        """Take one back."""
        await self.grouping.unregister(key(name), event("registered.remove", at=self.now))

    # ── approvals ─────────────────────────────────────────────────────────────────────────────────────

    def wish(self, thing: str, key_name: str = "k1", group: GroupName = LINE) -> Approval:
        """What a device asks now, good for an hour."""
        name, hashed = ThingName(thing), key(key_name)
        identity = approval_id(group, name, hashed)
        source = f"192.0.2.{next(self.wishes)}"
        return Approval(identity, group, name, hashed, source, self.now, self.now + HOUR)

    async def ask(self, wish: Approval, most: int = 1000) -> Approval:
        """Ask it."""
        return await self.grouping.ask(wish, most, event("approval.ask", wish.thing, self.now))

    async def decide(
        self, wish: Approval, state: ApprovalState = ApprovalState.APPROVED, span: timedelta = HOUR
    ) -> Approval:
        """A person's word, good for ``span``."""
        told = event("approval.decide", wish.thing, self.now)
        return await self.grouping.decide(wish.id, state, self.now + span, told)

    async def told(self) -> list[str]:
        """What the trail says, oldest first; its chain is whole."""
        records = await self.registry.records(limit=1000)
        verify(records)
        return [record.event.action for record in records]


def registered(name: str, thing: str | None = None, group: GroupName = LINE) -> RegisteredKey:
    """An announced key, under a name of its own if none is said."""
    return RegisteredKey(key(name), ThingName(thing or f"lamp-{name}"), group)
