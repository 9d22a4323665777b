"""The door for operators from elsewhere, and the book of their calls."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.api_key import ApiKeyWord, Role
from keyborn.domain.audit import AuditEvent, AuditRecord
from keyborn.domain.errors import (
    ApiKeyExpired,
    ApiKeyMissing,
    ApiKeyRefused,
    KeybornError,
    LocalOnly,
    RegistryUnavailable,
    RoleTooLow,
    Throttled,
)
from keyborn.service.operators import DONE, WINDOW, Call, CallBook
from support.office import TurnedClock
from support.operators import DAY, HERE, OperatorWorld

CALL = Call("GET /v1/things", HERE)


@pytest.fixture
def world() -> OperatorWorld:
    return OperatorWorld()


async def refused(
    world: OperatorWorld, bearer: str | None, wanted: Role | None = Role.VIEWER
) -> KeybornError:
    with pytest.raises(KeybornError) as refusal:
        await world.door.admit(bearer, CALL, wanted)
    return refusal.value


# ── who is let in ──


@pytest.mark.parametrize("wanted", [*Role, None])
@pytest.mark.parametrize("role", Role)
async def test_a_role_may_what_it_covers_and_nothing_else(
    world: OperatorWorld, role: Role, wanted: Role | None
) -> None:
    fresh = await world.key(role)
    if wanted is not None and role.covers(wanted):
        operator = await world.door.admit(fresh.word.encode(), CALL, wanted)
        assert (operator.key, operator.name, operator.role) == (fresh.key.id, "alice", role)
        return
    refusal = await refused(world, fresh.word.encode(), wanted)
    assert isinstance(refusal, LocalOnly if wanted is None else RoleTooLow)


async def test_who_shows_nothing_is_told_what_to_show(world: OperatorWorld) -> None:
    assert isinstance(await refused(world, None), ApiKeyMissing)


async def test_unknown_wrong_and_withdrawn_are_one_answer(world: OperatorWorld) -> None:
    fresh = await world.key(Role.ADMIN)
    word = fresh.word
    await world.keys.withdraw(fresh.key.id)
    unknown = ApiKeyWord(word.url, word.fingerprint, bytes(32)).encode()
    answers = [await refused(world, bearer) for bearer in (word.encode(), unknown, "kba1.x", "", "x" * 5000)]
    assert {(type(one), str(one)) for one in answers} == {(ApiKeyRefused, str(ApiKeyRefused()))}


async def test_a_withdrawal_counts_from_the_next_call_on(world: OperatorWorld) -> None:
    fresh = await world.key(Role.VIEWER)
    await world.door.admit(fresh.word.encode(), CALL, Role.VIEWER)
    await world.keys.withdraw(fresh.key.id)
    assert isinstance(await refused(world, fresh.word.encode()), ApiKeyRefused)


async def test_an_expired_key_says_so_to_who_has_its_secret(world: OperatorWorld) -> None:
    fresh = await world.key(Role.ADMIN, DAY)
    world.clock.turn(DAY - timedelta(milliseconds=1))
    await world.door.admit(fresh.word.encode(), CALL, Role.ADMIN)
    world.clock.turn(timedelta(milliseconds=1))
    assert isinstance(await refused(world, fresh.word.encode()), ApiKeyExpired)


async def test_a_half_guessed_secret_with_the_same_public_id_is_refused(world: OperatorWorld) -> None:
    """The id is 64 bits of the digest: whoever found another secret for it has nothing."""
    fresh = await world.key(Role.ADMIN)
    world.registry._state.api_keys[fresh.key.id] = type(fresh.key)(
        fresh.key.id, bytes(32), "alice", Role.ADMIN, fresh.key.created_at, fresh.key.expires_at
    )
    assert isinstance(await refused(world, fresh.word.encode()), ApiKeyRefused)


async def test_another_url_in_the_word_is_the_same_key(world: OperatorWorld) -> None:
    """It may have been made under a name that is no more; what proves is the secret."""
    fresh = await world.key(Role.VIEWER)
    moved = ApiKeyWord("https://moved.example", b"", fresh.word.secret)
    assert (await world.door.admit(moved.encode(), CALL, Role.VIEWER)).key == fresh.key.id


# ── failures ──


async def guess(world: OperatorWorld, number: int, source: str = HERE) -> KeybornError:
    word = ApiKeyWord("https://a.example", b"", number.to_bytes(32, "big"))
    with pytest.raises(KeybornError) as refusal:
        await world.door.admit(word.encode(), Call("GET /v1/things", source), Role.VIEWER)
    return refusal.value


async def test_who_fails_too_often_is_refused_late_and_told_to_wait(world: OperatorWorld) -> None:
    answers = [await guess(world, number) for number in range(8)]
    assert [type(one) for one in answers] == [ApiKeyRefused] * 5 + [Throttled] * 3
    assert world.pauses == [1.0] * 3
    assert answers[-1].retry_after


async def test_a_good_key_behind_the_same_address_is_neither_refused_nor_held(world: OperatorWorld) -> None:
    fresh = await world.key(Role.VIEWER)
    for number in range(50):
        await guess(world, number)
    world.pauses.clear()
    await world.door.admit(fresh.word.encode(), CALL, Role.VIEWER)
    assert world.pauses == []


async def test_another_address_has_a_budget_of_its_own(world: OperatorWorld) -> None:
    for number in range(50):
        await guess(world, number)
    assert isinstance(await guess(world, 1, "192.0.2.8"), ApiKeyRefused)


async def test_no_more_refusals_are_held_than_memory_is_for(world: OperatorWorld) -> None:
    release, held = asyncio.Event(), 0

    async def _sleep(_seconds: float) -> None:
        nonlocal held
        held += 1
        await release.wait()

    world.door._strangers._late._sleep = _sleep  # type: ignore[union-attr] # it has one
    crowd = [asyncio.create_task(guess(world, number)) for number in range(1200)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert held == 1000
    release.set()
    assert sum(isinstance(one, Throttled) for one in await asyncio.gather(*crowd)) == 1195


async def test_strangers_leave_a_trickle_in_the_trail_that_counts_the_rest(world: OperatorWorld) -> None:
    for number in range(500):
        await guess(world, number, f"198.51.100.{number % 250}")
    world.clock.turn(timedelta(hours=1))
    await guess(world, 0, "203.0.113.1")
    events = await world.events("admin.call")
    assert len(events) == 11
    assert {event.actor for event in events} == {"unproved"}
    assert events[-1].details["more"] == "490"


async def test_a_stranger_is_refused_where_nothing_can_be_recorded(
    world: OperatorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def _full(_event: AuditEvent) -> None:
        raise RegistryUnavailable

    monkeypatch.setattr(world.registry, "append", _full)
    assert isinstance(await guess(world, 1), ApiKeyRefused)


# ── the book ──


class Shelf:
    """A book on a registry that a test can make refuse."""

    def __init__(self) -> None:
        self.registry, self.clock, self.broken = MemoryRegistry(), TurnedClock(), False
        self.book = CallBook(self, self.clock)

    async def append(self, event: AuditEvent) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise RegistryUnavailable
        await self.registry.append(event)

    async def records(self, *, after: int = 0, limit: int = 1000) -> list[AuditRecord]:
        return list(await self.registry.records(after=after, limit=limit))

    async def told(self) -> list[tuple[str, str, str, str, int]]:
        events = [record.event for record in await self.registry.records()]
        return [(e.actor, e.subject, e.source, e.outcome, int(e.details["calls"])) for e in events]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def test_the_first_call_is_told_before_it_is_answered(shelf: Shelf) -> None:
    await shelf.book.note("a0 alice", CALL, DONE)
    assert await shelf.told() == [("a0 alice", "GET /v1/things", HERE, "done", 1)]


async def test_a_walk_of_a_thousand_pages_is_two_records(shelf: Shelf) -> None:
    for _ in range(1000):
        await shelf.book.note("a0 alice", CALL, DONE)
    shelf.clock.turn(WINDOW)
    await shelf.book.tell(shelf.clock.now())
    assert [row[-1] for row in await shelf.told()] == [1, 999]


async def test_calls_that_differ_are_told_apart(shelf: Shelf) -> None:
    for actor in ("a0 alice", "a1 bob"):
        for route in ("GET /v1/things", "GET /v1/audit"):
            for source in (HERE, "192.0.2.8"):
                for outcome in (DONE, "role_too_low"):
                    await shelf.book.note(actor, Call(route, source), outcome)
    told = await shelf.told()
    assert len(told) == len(set(told)) == 16


async def test_many_at_once_are_one_record_and_a_count(shelf: Shelf) -> None:
    await asyncio.gather(*(shelf.book.note("a0 alice", CALL, DONE) for _ in range(50)))
    await shelf.book.tell()
    assert [row[-1] for row in await shelf.told()] == [1, 49]


async def test_what_could_not_be_told_is_told_later(shelf: Shelf) -> None:
    for _ in range(3):
        await shelf.book.note("a0 alice", CALL, DONE)
    shelf.broken = True
    with pytest.raises(RegistryUnavailable):
        await shelf.book.tell()
    shelf.broken = False
    await shelf.book.tell(shelf.clock.now())
    assert [row[-1] for row in await shelf.told()] == [1, 2]


async def test_a_first_call_that_cannot_be_told_is_not_answered(shelf: Shelf) -> None:
    shelf.broken = True
    with pytest.raises(RegistryUnavailable):
        await shelf.book.note("a0 alice", CALL, DONE)
    shelf.broken = False
    await shelf.book.note("a0 alice", CALL, DONE)
    assert [row[-1] for row in await shelf.told()] == [1]


async def test_a_clock_that_goes_back_loses_no_count(shelf: Shelf) -> None:
    for _ in range(3):
        await shelf.book.note("a0 alice", CALL, DONE)
    shelf.clock.turn(timedelta(hours=-1))
    await shelf.book.note("a0 alice", CALL, DONE)
    assert sum(row[-1] for row in await shelf.told()) == 4


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 90), st.booleans()), min_size=1, max_size=60))
async def test_every_answered_call_is_counted_once(
    steps: list[tuple[int, int, bool]],
) -> None:
    shelf, answered = Shelf(), 0
    for route, seconds, broken in steps:
        shelf.broken = broken
        shelf.clock.turn(timedelta(seconds=seconds))
        try:
            await shelf.book.note("a0 alice", Call(str(route), HERE), DONE)
            answered += 1
        except RegistryUnavailable:
            continue
    shelf.broken = False
    await shelf.book.tell()
    told = await shelf.told()
    assert sum(row[-1] for row in told) == answered


async def test_alike_calls_write_two_records_a_minute_at_most(shelf: Shelf) -> None:
    for _ in range(600):
        shelf.clock.turn(timedelta(seconds=1))
        await shelf.book.note("a0 alice", CALL, DONE)
    await shelf.book.tell()
    records = await shelf.registry.records()
    firsts = [record.event.at for record in records if record.event.details["calls"] == "1"]
    assert all(two - one >= WINDOW for one, two in pairwise(firsts))
    assert sum(row[-1] for row in await shelf.told()) == 600
    assert len(records) <= 20


async def test_memory_is_bounded_by_telling(shelf: Shelf) -> None:
    for number in range(3000):
        call = Call("GET /v1/things", str(number))
        for _ in range(2):
            await shelf.book.note("a0 alice", call, DONE)
    assert len(shelf.book._open) <= 1024
    await shelf.book.tell()
    records = [r for page in range(7) for r in await shelf.registry.records(after=page * 1000)]
    assert sum(int(record.event.details["calls"]) for record in records) == 6000
