"""What was answered is on disk: killed processes, full disks, failing commits."""

import asyncio
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from keyborn.adapters.sql import SqliteRegistry, schema
from keyborn.adapters.sql.session import Session
from keyborn.domain.audit import verify
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import RegistryUnavailable
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import ThingStatus
from support.child_process import child, lines
from support.gate import Gate
from support.registry_cases import START, Desk, certificate_for, event

# ── killed ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("work", "survivors"), [("enroll", 1), ("enroll", 200), ("grant", 1), ("grant", 400)]
)
async def test_what_was_awaited_survives_a_kill(tmp_path: Path, work: str, survivors: int) -> None:
    path = tmp_path / "registry.db"
    told: list[tuple[str, str]] = []
    with child(path, work) as process:
        for words in lines(process):
            if words[0] == "active":
                told.append((words[1], words[2]))
            if len(told) >= survivors:
                os.kill(process.pid, signal.SIGKILL)
                break
        told += [(words[1], words[2]) for words in lines(process) if len(words) == 3 and len(words[2]) == 64]

    async with SqliteRegistry(path) as registry:
        for name, identity in told:
            certificate = await registry.certificate(CertificateId(identity))
            assert certificate is not None
            assert (certificate.thing, certificate.status) == (name, CertificateStatus.ACTIVE)
        trail = await registry.records()
        assert verify(trail).sequence >= len(told)
        if work == "grant":
            states = {one.status for one in await registry.things(limit=1000)}
            assert states == {ThingStatus.ACTIVE}, "nothing is begun that is not done"
            assert await registry.leftovers(before=START.replace(year=2030)) == []


async def test_a_killed_process_leaves_only_what_the_next_attempt_settles(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with child(path, "enroll") as process:
        seen = 0
        for words in lines(process):
            seen += words[0] == "active"
            if seen >= 30:
                break
        os.kill(process.pid, signal.SIGKILL)

    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        (use,) = await registry.tokens()
        things = await registry.things(limit=1000)
        waiting = {intent.thing for intent in await registry.leftovers(before=START.replace(year=2030))}
        assert {one.name for one in things if one.status is ThingStatus.CLAIMED} == waiting
        for name in waiting:
            number = name.removeprefix("lamp-")
            assert (await desk.enroll(use.token, name, f"k{number}")).status is CertificateStatus.ACTIVE
        for thing in await registry.things(limit=1000):
            (certificate,) = await registry.certificates(thing.name)
            assert (thing.status, certificate.status) == (ThingStatus.ACTIVE, CertificateStatus.ACTIVE)
        assert (await registry.tokens())[0].uses_taken == len(things)


async def test_every_commit_of_the_writer_is_synced(tmp_path: Path) -> None:
    schema.prepare(tmp_path / "registry.db")
    with closing(schema.connect_writer(tmp_path / "registry.db")) as connection:
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchall()[0][0]
            for name in ("synchronous", "journal_mode", "foreign_keys")
        }
    assert pragmas == {"synchronous": 2, "journal_mode": "wal", "foreign_keys": 1}


# ── refused by the file system ────────────────────────────────────────────────────────────────────────


async def test_a_file_system_that_refuses_is_said_plainly_and_forgotten_when_it_recovers(
    tmp_path: Path,
) -> None:
    """RLIMIT_FSIZE makes every write beyond it fail (EFBIG, SQLite's I/O error), as a broken disk would."""
    path = tmp_path / "registry.db"
    with child(path, "limit") as process:
        said = {words[0]: int(words[1]) for words in lines(process)}
        assert process.wait(30) == 0

    assert said["enrolled"] > 10
    assert said["readable"] == 1
    assert said["recovered"] >= 5
    async with SqliteRegistry(path) as registry:
        assert verify(await registry.records()).sequence == said["enrolled"] + 2
        active = [one for one in await registry.things(limit=1000) if one.status is ThingStatus.ACTIVE]
        assert len(active) == said["enrolled"] + 1


async def test_a_full_database_fails_every_command_of_its_batch_and_keeps_nothing_of_it(
    tmp_path: Path,
) -> None:
    """``max_page_count`` gives SQLITE_FULL, as a full disk does; a new connection has room again."""
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        token = await desk.token("secret")
        before = await registry.records()

        def shrink(session: Session) -> None:
            session.one("PRAGMA max_page_count = 1")

        await registry._writer.run(shrink)
        crowd = [desk.attempt(token, f"lamp-{number}", f"k{number}") for number in range(300)]
        outcomes = await asyncio.gather(
            *(registry.claim(attempt) for attempt in crowd), return_exceptions=True
        )

        refused = [one for one in outcomes if isinstance(one, BaseException)]
        assert refused
        assert all(isinstance(one, RegistryUnavailable) for one in refused)
        assert any("full" in str(one.__cause__) for one in refused)
        claimed = {one.name for one in await registry.things(limit=1000)}
        assert claimed == {
            attempt.thing
            for attempt, one in zip(crowd, outcomes, strict=True)
            if not isinstance(one, BaseException)
        }
        assert await desk.uses_taken(token) == len(claimed)
        assert await registry.records() == before

        again = await asyncio.gather(*(registry.claim(attempt) for attempt in crowd))
        assert len(again) == 300


async def test_a_commit_that_fails_fails_its_whole_batch_and_the_writer_opens_again(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        token = await desk.token("secret")
        opened = 0
        connect = registry._writer._connect

        def counting() -> sqlite3.Connection:
            nonlocal opened
            opened += 1
            return connect()

        registry._writer._connect = counting

        def sabotage(session: Session) -> None:
            """A deferred constraint that only COMMIT finds broken."""
            session.one("PRAGMA defer_foreign_keys = ON")
            session.run("INSERT INTO keys (key_hash, thing, intent) VALUES ('k', 'nobody', 'i')")

        gate = Gate()
        held = await gate.closed_behind(registry)
        tasks = [
            asyncio.create_task(registry.claim(desk.attempt(token, "lamp-1", "k1"))),
            asyncio.create_task(registry._writer.run(sabotage)),
            asyncio.create_task(registry.claim(desk.attempt(token, "lamp-2", "k2"))),
        ]
        await asyncio.sleep(0)
        gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await held

        assert [type(one) for one in outcomes] == [RegistryUnavailable] * 3
        assert await registry.things() == []
        assert registry.counters.failures == 1
        assert (await desk.enroll(token, "lamp-1", "k1")).status is CertificateStatus.ACTIVE
        assert opened == 1


async def test_a_writer_that_cannot_open_says_so_until_it_can(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        token = await desk.token("secret")
        connect = registry._writer._connect
        broken = True

        def sometimes() -> sqlite3.Connection:
            if broken:
                raise sqlite3.OperationalError("unable to open database file")
            return connect()

        def fail(_session: Session) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        registry._writer._connect = sometimes
        with pytest.raises(RegistryUnavailable):
            await registry._writer.run(fail)
        for _ in range(3):
            with pytest.raises(RegistryUnavailable):
                await desk.enroll(token, "lamp-1", "k1")
        assert await registry.find(token.id) == token, "readers are not disturbed"
        broken = False
        assert (await desk.enroll(token, "lamp-1", "k1")).status is CertificateStatus.ACTIVE


async def test_a_failed_batch_leaves_the_audit_chain_whole(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        await registry.append(event("first"))

        def fail(session: Session) -> None:
            session.chain(event("never"))
            raise sqlite3.OperationalError("disk I/O error")

        with pytest.raises(RegistryUnavailable):
            await registry._writer.run(fail)
        await registry.append(event("second"))

        trail = await registry.records()
        assert [record.event.action for record in trail] == ["first", "second"]
        assert verify(trail).sequence == 2


async def test_a_saga_cut_by_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        token = await desk.token("secret", uses=1)
        issue = await desk.stored(token, "lamp-1", "k1")

    async with SqliteRegistry(path) as registry:
        desk.registry = registry
        resumed = await desk.claim(token, "lamp-1", "k1")
        assert (resumed.resumed, resumed.intent) == (True, issue.intent)
        kept = await registry.store(resumed.intent, certificate_for(resumed.intent, "signed again"))
        assert kept == certificate_for(issue.intent)
        active = await registry.activate(resumed.intent.id, desk.done("lamp-1"))
        assert [one.id for one in await registry.certificates(ThingName("lamp-1"))] == [active.id]
