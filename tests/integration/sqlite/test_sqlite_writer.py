"""One writer: shared commits, savepoints, back-pressure, and an end that loses nothing."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.sql.session import Session
from keyborn.domain.audit import verify
from keyborn.domain.errors import RegistryUnavailable, ThingNameTaken
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import TokenId
from support.gate import Gate
from support.registry_cases import Desk, event, key


async def test_concurrent_enrollments_share_commits(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        token = await desk.token("secret")
        await asyncio.gather(*(desk.enroll(token, f"lamp-{number}", f"k{number}") for number in range(200)))

        counters = registry.counters
        shared = counters.commands / counters.commits
        print(f"{counters.commands} commands in {counters.commits} commits: {shared:.0f} each")  # noqa: T201
        assert counters.commands == 602
        assert shared > 10
        assert counters.largest_batch <= 128


async def test_a_batch_is_no_larger_than_its_limit(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db", batch_limit=4) as registry:
        gate = Gate()
        held = await gate.closed_behind(registry)
        tasks = [asyncio.create_task(registry.append(event(f"{number}"))) for number in range(10)]
        await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(held, *tasks)

        assert registry.counters.largest_batch == 4
        assert [one.event.action for one in await registry.records()] == [f"{number}" for number in range(10)]


async def test_a_refused_command_does_not_hurt_its_neighbours(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        token = await desk.token("secret")

        def broken(session: Session) -> None:
            session.chain(event("never"))
            session.run("UPDATE things SET status = 'retired'")
            raise LookupError("a fault of ours")

        gate = Gate()
        held = await gate.closed_behind(registry)
        tasks = [
            asyncio.create_task(desk.registry.claim(desk.attempt(token, "lamp-1", "k1"))),
            asyncio.create_task(registry._writer.run(broken)),
            asyncio.create_task(desk.registry.claim(desk.attempt(token, "lamp-1", "k2"))),
            asyncio.create_task(desk.registry.claim(desk.attempt(token, "lamp-2", "k3"))),
            asyncio.create_task(registry.append(event("neighbour"))),
        ]
        await asyncio.sleep(0)
        gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await held

        assert isinstance(outcomes[1], LookupError)
        assert isinstance(outcomes[2], ThingNameTaken)
        things = {one.name: (one.status, one.key_hash) for one in await registry.things()}
        assert things == {
            "lamp-1": (ThingStatus.CLAIMED, key("k1")),
            "lamp-2": (ThingStatus.CLAIMED, key("k3")),
        }
        trail = await registry.records()
        assert [one.event.action for one in trail] == ["token.create", "neighbour"]
        assert verify(trail).sequence == 2
        assert registry.counters.largest_batch == 5


async def test_a_command_that_sqlite_cannot_even_bind_fails_alone(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        gate = Gate()
        held = await gate.closed_behind(registry)
        faults = [
            lambda session: session.run("UPDATE things SET status = ?", object()),
            lambda session: session.run("UPDATE things SET created_at = ?", 1 << 70),
            lambda session: session.run("UPDATE things SET status = ?", "\ud800"),
            lambda session: session.run("UPDATE things SET status = ?"),
        ]
        tasks = [asyncio.create_task(registry._writer.run(fault)) for fault in faults]
        neighbour = asyncio.create_task(registry.append(event("neighbour")))
        await asyncio.sleep(0)
        gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(held, neighbour)

        assert all(isinstance(one, Exception) for one in outcomes)
        assert not any(isinstance(one, RegistryUnavailable) for one in outcomes)
        assert [one.event.action for one in await registry.records()] == ["neighbour"]
        assert registry.counters.failures == 0


async def test_the_writer_outlives_any_fault_and_says_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:

        def disk(_session: Session) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with pytest.raises(RegistryUnavailable):
            await registry._writer.run(disk)
        assert [record.getMessage() for record in caplog.records] == [
            "the registry cannot write: database or disk is full"
        ]

        def no_memory() -> sqlite3.Connection:
            raise MemoryError

        connect, registry._writer._connect = registry._writer._connect, no_memory
        with pytest.raises(RegistryUnavailable):
            await registry.append(event("lost"))
        registry._writer._connect = connect
        await registry.append(event("kept"))
        assert [one.event.action for one in await registry.records()] == ["kept"]


async def test_a_reader_in_trouble_is_unavailable(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        for reader in (registry._lookups, registry._pages):
            assert reader._connection is not None
            reader._connection.close()
        with pytest.raises(RegistryUnavailable):
            await registry.find(TokenId("t0000000000000000"))
        with pytest.raises(RegistryUnavailable):
            await registry.things()


async def test_a_constraint_that_objects_makes_the_command_decide_again(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        turns = 0

        def second_time_lucky(session: Session) -> int:
            nonlocal turns
            turns += 1
            session.chain(event(f"turn {turns}"))
            if turns == 1:
                raise sqlite3.IntegrityError("UNIQUE constraint failed: things.name")
            return turns

        assert await registry._writer.run(second_time_lucky) == 2
        trail = await registry.records()
        assert [one.event.action for one in trail] == ["turn 2"]
        assert verify(trail).sequence == 1


async def test_a_constraint_that_always_objects_ends_in_a_refusal(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        turns = 0

        def hopeless(session: Session) -> None:
            nonlocal turns
            turns += 1
            session.chain(event("never"))
            session.run("INSERT INTO keys (key_hash, thing, intent) VALUES ('k', 'nobody', 'i')")

        with pytest.raises(RegistryUnavailable) as refusal:
            await registry._writer.run(hopeless)

        assert isinstance(refusal.value.__cause__, sqlite3.IntegrityError)
        assert turns == 3
        assert await registry.records() == []
        assert registry.counters.failures == 0


THING = "INSERT INTO things (name, folded, status, key_hash, created_at, attributes, kind) VALUES "


@pytest.mark.parametrize(
    "statement",
    [
        THING + "('LAMP-1', 'lamp-1', 'claimed', 'k9', 0, '{}', 'device')",
        THING + "('lamp-1', 'other', 'claimed', 'k9', 0, '{}', 'device')",
        THING + "('lamp-9', 'lamp-9', 'thinking', 'k9', 0, '{}', 'device')",
        THING + "('lamp-9', 'lamp-9', 'claimed', 'k9', 0, '{}', 'gadget')",
        "UPDATE tokens SET kind = 'gadget'",
        "INSERT INTO policies VALUES ('p', '{}', 0, 0, 0)",
        "INSERT INTO policies VALUES ('p', '{}', 1, 0, 2)",
        "INSERT INTO keys SELECT key_hash, 'lamp-2', 'i' FROM keys WHERE thing = 'lamp-1'",
        "INSERT INTO keys VALUES ('k9', 'nobody', 'i')",
        "INSERT INTO attachments SELECT thing, slot, id FROM certificates WHERE thing = 'lamp-1'",
        "INSERT INTO attachments SELECT thing, 'successor', id FROM certificates WHERE thing = 'lamp-1'",
        "INSERT INTO intents SELECT 'i9', thing, key_hash, token, 0, 's9', 0, 0, slot, renews FROM intents",
        "INSERT INTO redemptions SELECT thing, key_hash, token, 'i9' FROM redemptions",
        "UPDATE certificates SET serial = 'same'",
        "UPDATE certificates SET id = 'same'",
        "UPDATE certificates SET intent = 'same'",
        "UPDATE tokens SET uses_taken = uses + 1",
        "UPDATE tokens SET uses_taken = -1",
        "UPDATE tokens SET uses = 'many'",
        "DELETE FROM things WHERE name = 'lamp-1'",
        "INSERT INTO accounts VALUES ('g:line-7', -1)",
        "INSERT INTO redemptions SELECT thing, key_hash, token, 'again' FROM redemptions",
        "INSERT INTO groups VALUES ('line-7', '', 0, 0, NULL, NULL)",
        "INSERT INTO approvals VALUES ('p1', 'line-7', 'lamp-1', 'k', '', 0, 0, 0, 'perhaps', '', NULL)",
        "INSERT INTO audit SELECT sequence, event, previous, hash FROM audit",
    ],
)
async def test_the_schema_itself_refuses_what_must_not_be(tmp_path: Path, statement: str) -> None:
    """Uniqueness is a constraint, not a look before the write."""
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        token = await desk.token("secret", uses=9)
        await desk.enroll(token, "lamp-1", "k1")
        await desk.enroll(token, "lamp-2", "k2")
        await desk.claim(token, "lamp-3", "k3")

        with pytest.raises(RegistryUnavailable) as refusal:
            await registry._writer.run(lambda session: session.run(statement))
        assert isinstance(refusal.value.__cause__, sqlite3.IntegrityError)


async def test_a_freed_name_that_is_active_again_has_no_tombstone(tmp_path: Path) -> None:
    def tombstones(session: Session) -> object:
        return session.one("SELECT count(*) FROM name_tombstones")

    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
        await desk.order("lamp-1", ThingStatus.REVOKED)
        assert await registry._writer.run(tombstones) == (1,)
        swap = await desk.token("swap", "lamp-1", replaces=True)
        await desk.claim(swap, "lamp-1", "k2")
        assert await registry._writer.run(tombstones) == (1,)
        await desk.enroll(swap, "lamp-1", "k2")
        assert await registry._writer.run(tombstones) == (0,)


async def test_a_full_queue_refuses_at_once_and_takes_more_when_it_moves(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db", waiting_limit=3) as registry:
        gate = Gate()
        held = await gate.closed_behind(registry)
        waiting = [asyncio.create_task(registry.append(event(f"{number}"))) for number in range(3)]
        await asyncio.sleep(0)
        assert registry.waiting == 3

        with pytest.raises(RegistryUnavailable):
            await registry.append(event("one too many"))
        assert await registry.find(TokenId("t0000000000000000")) is None, "readers do not queue"

        gate.open()
        await asyncio.gather(held, *waiting)
        assert registry.waiting == 0
        await registry.append(event("later"))
        assert [one.event.action for one in await registry.records()] == ["0", "1", "2", "later"]


async def test_closing_finishes_what_waits_and_takes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    registry = SqliteRegistry(path)
    await registry.open()
    gate = Gate()
    held = await gate.closed_behind(registry)
    waiting = [asyncio.create_task(registry.append(event(f"{number}"))) for number in range(50)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(registry.close())
    await asyncio.sleep(0)

    with pytest.raises(RegistryUnavailable):
        await registry.append(event("too late"))
    gate.open()
    await asyncio.gather(held, closing, *waiting)

    with pytest.raises(RegistryUnavailable):
        await registry.append(event("too late"))
    with pytest.raises(RegistryUnavailable):
        await registry.find(TokenId("t0000000000000000"))
    await registry.close()
    assert not path.with_name("registry.db-wal").exists(), "the log was folded into the file"
    async with SqliteRegistry(path) as reopened:
        assert verify(await reopened.records()).sequence == 50


async def test_before_it_is_open_nothing_is_answered(tmp_path: Path) -> None:
    registry = SqliteRegistry(tmp_path / "registry.db")

    assert not (tmp_path / "registry.db").exists(), "a constructor touches nothing"
    with pytest.raises(RegistryUnavailable):
        await registry.append(event())
    with pytest.raises(RegistryUnavailable):
        await registry.things()
    await registry.close()


async def test_a_caller_that_went_away_disturbs_nobody(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        gate = Gate()
        held = await gate.closed_behind(registry)
        leaver = asyncio.create_task(registry.append(event("leaver")))
        stayer = asyncio.create_task(registry.append(event("stayer")))
        await asyncio.sleep(0)
        leaver.cancel()
        gate.open()
        await asyncio.gather(held, stayer)

        with pytest.raises(asyncio.CancelledError):
            await leaver
        assert "stayer" in [one.event.action for one in await registry.records()]


async def test_an_event_loop_that_ended_does_not_stop_the_writer(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        gate = Gate()
        held = await gate.closed_behind(registry)

        def visit() -> None:
            async def leave() -> None:
                task = asyncio.create_task(registry.append(event("visitor")))
                await asyncio.sleep(0)
                task.cancel()

            asyncio.run(leave())

        await asyncio.to_thread(visit)
        gate.open()
        await held
        await registry.append(event("resident"))
        assert [one.event.action for one in await registry.records()][-1] == "resident"


async def test_readers_see_committed_rows_only_and_do_not_wait(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        token = await desk.token("secret")
        gate = Gate()
        held = await gate.closed_behind(registry)
        claiming = asyncio.create_task(registry.claim(desk.attempt(token, "lamp-1", "k1")))
        await asyncio.sleep(0)

        assert await registry.thing(ThingName("lamp-1")) is None
        assert await registry.find(token.id) == token
        assert await registry.things() == []

        gate.open()
        await asyncio.gather(held, claiming)
        assert (await desk.thing("lamp-1")).status is ThingStatus.CLAIMED


async def test_a_thousand_claims_of_one_name_have_one_winner(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        token = await desk.token("secret")
        crowd = [registry.claim(desk.attempt(token, "lamp-1", f"k{number}")) for number in range(1000)]

        outcomes = await asyncio.gather(*crowd, return_exceptions=True)

        assert sum(isinstance(one, ThingNameTaken) for one in outcomes) == 999
        assert await desk.uses_taken(token) == 1
