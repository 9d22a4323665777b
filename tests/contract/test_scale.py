"""A large fleet: find, count, forget."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from keyborn.adapters.aws.table import DynamoRegistry, searching
from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.audit import AuditEvent
from keyborn.domain.census import Census
from keyborn.domain.enrollment import Issue, Repeat
from keyborn.domain.errors import InvalidSetting, KeybornError, SearchTooWide, TokenExpired
from keyborn.domain.group import GroupDocument
from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.pruning import Pruned
from keyborn.domain.search import Search
from keyborn.domain.thing import ThingKind, ThingStatus
from keyborn.domain.token import EnrollmentToken
from keyborn.ports import Censuses, GroupingRegistry, Pruning, Searches
from support import ministack, plans
from support.registry_cases import HOUR, LIFETIME, START, Desk, event


class Searchable(GroupingRegistry, Searches, Protocol):
    """What is searched here."""


class Countable(Searchable, Censuses, Pruning, Protocol):
    """What is counted and pruned here."""


@asynccontextmanager
async def _memory(_folder: Path) -> AsyncIterator[Countable]:
    yield MemoryRegistry()


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Countable]:
    async with plans.watched(folder / "registry.db") as (registry,):
        yield registry


@asynccontextmanager
async def _dynamodb(_folder: Path) -> AsyncIterator[Searchable]:
    async with DynamoRegistry(ministack.dynamodb, ministack.new_table()) as registry:
        yield registry


COUNTED = {"memory": _memory, "sqlite": _sqlite}
SEARCHED = {**COUNTED, "dynamodb": _dynamodb}


@pytest.fixture(params=SEARCHED)
async def searched(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator["Fleet"]:
    """An empty registry of each kind that can be searched."""
    opener: AbstractAsyncContextManager[Searchable] = SEARCHED[request.param](tmp_path)
    async with opener as registry:
        yield Fleet(registry, Desk(registry))


@pytest.fixture(params=COUNTED)
async def counted(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator["Counting"]:
    """An empty registry of each kind that counts and forgets."""
    async with COUNTED[request.param](tmp_path) as registry:
        yield Counting(registry, Desk(registry))


@dataclass
class Fleet:
    """Short words over a registry with some things."""

    registry: Searchable
    desk: Desk
    known: EnrollmentToken | None = field(default=None)

    async def enrolled(self, *names: str, **attributes: str) -> None:
        """Enroll ``names``, all with these attributes."""
        self.known = self.known or await self.desk.token("scale", ttl=LIFETIME)
        for name in names:
            await self.desk.enroll(self.known, name, f"key of {name}")
            if attributes:
                await self.registry.set_attributes(ThingName(name), attributes, event())

    async def found(self, search: Search, *, after: str = "", limit: int = 100) -> list[str]:
        """Names of a page."""
        start = ThingName(after) if after else None
        return [one.name for one in await self.registry.find_things(search, after=start, limit=limit)]

    async def paged(self, search: Search, limit: int) -> list[str]:
        """Names of all pages."""
        names: list[str] = []
        while page := await self.found(search, after=names[-1] if names else "", limit=limit):
            names += page
        return names


# ── search ────────────────────────────────────────────────────────────────────────────────────────────

NAMES = ("Lamp-1", "lam", "lamp", "lamp-1", "lamp-10", "lamp-2", "lampion", "lamq", "lan", "z")


@pytest.mark.parametrize("prefix", ["", "lamp", "lamp-1", "l", "L", "z", "zz", "-", "lamp-", "_"])
async def test_a_prefix_finds_the_names_that_begin_with_it_and_no_others(
    searched: Fleet, prefix: str
) -> None:
    await searched.enrolled(*(name for name in NAMES if name != "Lamp-1"), "Lump-1")
    there = sorted({*NAMES, "Lump-1"} - {"Lamp-1"})
    wanted = [name for name in there if name.startswith(prefix)]
    assert await searched.found(Search(prefix)) == wanted
    assert await searched.paged(Search(prefix), 2) == wanted


async def test_attributes_find_what_has_all_of_them_with_exactly_these_values(searched: Fleet) -> None:
    await searched.enrolled("a-1", "b-1", room="4", floor="2")
    await searched.enrolled("a-2", room="4", floor="3")
    await searched.enrolled("a-3", room="44")
    await searched.enrolled("a-4", "b-2")
    assert await searched.found(Search(where={"room": "4"})) == ["a-1", "a-2", "b-1"]
    assert await searched.found(Search(where={"room": "4", "floor": "2"})) == ["a-1", "b-1"]
    assert await searched.found(Search("a", {"room": "4", "floor": "2"})) == ["a-1"]
    assert await searched.found(Search(where={"room": ""})) == []
    assert await searched.found(Search(where={"ROOM": "4"})) == []
    assert await searched.paged(Search(where={"room": "4"}), 1) == ["a-1", "a-2", "b-1"]


async def test_a_search_follows_what_changes(searched: Fleet) -> None:
    await searched.enrolled("a-1", "a-2", room="4")
    change = searched.registry.set_attributes
    await change(ThingName("a-1"), {"room": "5", "floor": "1"}, event())
    await change(ThingName("a-2"), {}, event())
    assert await searched.found(Search(where={"room": "4"})) == []
    assert await searched.found(Search(where={"room": "5"})) == ["a-1"]
    await searched.registry.set_status(ThingName("a-1"), ThingStatus.REVOKED, event())
    assert await searched.found(Search(where={"room": "5"}, status=ThingStatus.ACTIVE)) == []
    assert await searched.found(Search(where={"room": "5"}, status=ThingStatus.REVOKED)) == ["a-1"]


@pytest.mark.parametrize("status", [None, *ThingStatus])
async def test_a_status_and_a_group_find_who_has_them(searched: Fleet, status: ThingStatus | None) -> None:
    await searched.enrolled(*(f"a-{number}" for number in range(6)))
    await _scatter(searched)
    every = await searched.registry.find_things(Search())
    assert {one.status for one in every} == set(ThingStatus)
    for search in (
        Search(status=status),
        Search("a-", status=status),
        Search(group=GroupName("line"), status=status),
        Search("a-2", group=GroupName("line"), status=status),
    ):
        wanted = [one.name for one in every if search.finds(one)]
        assert await searched.found(search) == wanted, search
        assert await searched.paged(search, 1) == wanted, search


async def _scatter(fleet: Fleet) -> None:
    """Things of each status, some of them in a group."""
    registry, desk = fleet.registry, fleet.desk
    token = await desk.token("claims")
    await desk.stored(token, "a-7", "k7")
    moves = {"a-1": ThingStatus.SUSPENDED, "a-2": ThingStatus.REVOKED, "a-3": ThingStatus.RETIRED}
    for name, status in moves.items():
        await registry.set_status(ThingName(name), status, event())
    await put_group(registry, "line")
    for name in ("a-0", "a-1", "a-2", "a-3", "a-7"):
        await registry.set_group(ThingName(name), GroupName("line"), event())


async def put_group(registry: GroupingRegistry, name: str) -> None:
    """Make a group that lets nobody in."""
    await registry.put_group(GroupDocument(GroupName(name), "", START), event())


async def test_services_are_found_as_services_alone(searched: Fleet) -> None:
    await searched.enrolled("a-1")
    token = await searched.desk.token("services", kind=ThingKind.SERVICE)
    await searched.desk.enroll(token, "a-2", "key of a-2")
    assert await searched.found(Search("a")) == ["a-1"]
    services = await searched.registry.find_things(Search("a"), kind=ThingKind.SERVICE)
    assert [one.name for one in services] == ["a-2"]


async def test_a_page_has_as_many_as_asked_for(searched: Fleet) -> None:
    await searched.enrolled("a-1", "a-2", "a-3")
    assert await searched.found(Search("a"), limit=0) == []
    assert await searched.found(Search("a"), after="a-1", limit=1) == ["a-2"]
    assert await searched.found(Search("b"), after="a-1") == []
    assert await searched.found(Search("a"), after="b") == []


async def test_on_the_table_a_search_that_reads_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "LOOKED_AT", 3)
    async with DynamoRegistry(ministack.dynamodb, ministack.new_table()) as registry:
        fleet = Fleet(registry, Desk(registry))
        await fleet.enrolled("a-1", "a-2", "a-3", "b-1")
        assert await fleet.found(Search("a", {"room": "4"})) == []
        with pytest.raises(SearchTooWide, match=r"Among 3 things .* --prefix"):
            await fleet.found(Search(where={"room": "4"}))


# ── count ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Counting(Fleet):
    """The same over what can be counted, too."""

    registry: Countable

    async def census(self, **passed: float) -> Census:
        """Counted at the desk's time, and so much later."""
        return await self.registry.census(self.desk.now + timedelta(**passed))

    async def pruned(self, limit: int = 2) -> Pruned:
        """Everything that ended before now, in steps; what they said they would remove is what they did."""
        total, more = Pruned(), None
        while True:
            due = await self.registry.due(before=self.desk.now, after=more, limit=limit)
            step = await self.registry.prune(event("prune"), before=self.desk.now, after=more, limit=limit)
            assert step == due
            total, more = total + step, step.after
            if more is None:
                return total


def counts(found: Census) -> tuple[dict[str, int], dict[str, int]]:
    """Without the zeros."""
    things = {status.value: count for status, count in found.things.items() if count}
    return things, {status.value: count for status, count in found.certificates.items() if count}


async def test_an_empty_registry_has_nobody(counted: Counting) -> None:
    found = await counted.census()
    assert counts(found) == ({}, {})
    assert found.days_left == {}


async def test_a_census_counts_things_and_certificates_by_status(counted: Counting) -> None:
    await counted.enrolled(*(f"a-{number}" for number in range(6)))
    await _scatter(counted)
    assert counts(await counted.census()) == (
        {"claimed": 1, "active": 3, "suspended": 1, "revoked": 1, "retired": 1},
        {"active": 3, "inactive": 2, "revoked": 2},
    )


async def test_a_census_follows_what_is_undone(counted: Counting) -> None:
    token = await counted.desk.token("secret")
    issue = await counted.desk.stored(token, "a-1", "k1")
    assert counts(await counted.census()) == ({"claimed": 1}, {"inactive": 1})
    await counted.registry.drop(issue.intent.id, event())
    assert counts(await counted.census()) == ({}, {"revoked": 1})


async def test_days_left_are_those_of_the_calendar(counted: Counting) -> None:
    await counted.enrolled("a-1", "a-2")
    days = (await counted.census()).days_left
    assert days == {LIFETIME.days: 2}
    midnight = counted.desk.now.replace(hour=0) + LIFETIME
    assert (await counted.registry.census(midnight)).days_left == {0: 2}
    assert (await counted.registry.census(midnight + timedelta(hours=23, minutes=59))).days_left == {0: 2}
    assert (await counted.registry.census(midnight + timedelta(days=1))).days_left == {}
    await counted.registry.set_status(ThingName("a-1"), ThingStatus.SUSPENDED, event())
    assert (await counted.census()).days_left == {LIFETIME.days: 1}


# ── forget ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_certificate_that_nobody_holds_goes_when_it_has_expired(counted: Counting) -> None:
    await counted.enrolled("a-1", "a-2", "a-3")
    await counted.registry.set_status(ThingName("a-1"), ThingStatus.REVOKED, event())
    revoked, *_ = await counted.registry.certificates(ThingName("a-1"))

    counted.desk.pass_time(LIFETIME - timedelta(days=1))
    assert (await counted.pruned()).certificates == 0
    assert await counted.registry.certificate(revoked.id) is not None  # who asks must hear that it is revoked

    counted.desk.pass_time(timedelta(days=2))
    assert (await counted.pruned()).certificates == 1
    assert await counted.registry.certificate(revoked.id) is None
    assert await counted.registry.certificates(ThingName("a-2"))  # expired, and what the thing would renew
    assert counts(await counted.census())[1] == {"active": 2}


async def test_what_was_taken_away_stays_taken_away(counted: Counting) -> None:
    await counted.enrolled("a-1")
    await counted.registry.set_status(ThingName("a-1"), ThingStatus.REVOKED, event())
    counted.desk.pass_time(LIFETIME * 2)
    assert (await counted.pruned()).certificates == 1

    again = await counted.desk.token("another", ttl=HOUR)
    for name in ("a-1", "a-9"):
        with pytest.raises(KeybornError) as refused:
            await counted.desk.claim(again, name, "key of a-1")
        assert refused.value.code in {"thing_revoked", "key_revoked", "key_in_use"}
    assert (await counted.desk.thing("a-1")).status is ThingStatus.REVOKED


async def test_a_redemption_goes_with_its_token_long_expired_and_still_counts(counted: Counting) -> None:
    token = await counted.desk.token("secret", uses=5)
    await counted.desk.enroll(token, "a-1", "k1")
    await counted.desk.stored(token, "a-2", "k2")
    assert isinstance(await counted.registry.claim(counted.desk.attempt(token, "a-1", "k1")), Repeat)
    counted.desk.pass_time(HOUR * 2)
    assert (await counted.pruned()).redemptions == 1  # the other one belongs to an enrolment under way
    (use,) = await counted.registry.tokens()
    assert use.uses_taken == 2
    with pytest.raises(TokenExpired):
        await counted.registry.claim(counted.desk.attempt(token, "a-1", "k1"))
    assert isinstance(await counted.registry.claim(counted.desk.attempt(token, "a-2", "k2")), Issue)


async def test_a_token_that_has_not_expired_keeps_its_redemptions(counted: Counting) -> None:
    token = await counted.desk.token("secret", uses=5, ttl=LIFETIME)
    await counted.desk.enroll(token, "a-1", "k1")
    counted.desk.pass_time(HOUR * 2)
    assert (await counted.pruned()).total == 0


async def test_what_went_is_in_the_trail_and_nothing_is_told_of_nothing(counted: Counting) -> None:
    await counted.enrolled("a-1", "a-2", "a-3")
    for name in ("a-1", "a-2", "a-3"):
        await counted.registry.set_status(ThingName(name), ThingStatus.REVOKED, event())
    counted.desk.pass_time(LIFETIME * 2)
    before = await counted.registry.records()
    total = await counted.pruned()
    assert (total.certificates, total.redemptions) == (3, 3)
    assert await counted.pruned() == Pruned()
    told = [one.event for one in await counted.registry.records(after=len(before))]
    assert {one.action for one in told} == {"prune"}
    assert _sum(told, "certificates") == 3
    assert _sum(told, "redemptions") == 3


def _sum(told: Iterable[AuditEvent], kind: str) -> int:
    return sum(int(one.details.get(kind, 0)) for one in told)


async def test_a_place_that_no_step_named_is_refused(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        for place in (
            "",
            "x",
            "[]",
            '["certificates"]',
            '["things",1]',
            '["certificates","1",2]',
            "1",
            '[["a"]]',
            f'["certificates",{10**30},0]',
            '["redemptions","\\ud800","",""]',
            "[" * 100_000,
        ):
            with pytest.raises(InvalidSetting):
                await registry.due(before=desk.now, after=place)
