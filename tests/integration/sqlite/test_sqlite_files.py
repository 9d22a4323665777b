"""The file: private from the first byte, migrated step by step, refused when it is not ours or too new."""

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from keyborn.adapters.sql import SqliteRegistry, api_keys, grouping, policies, rows, schema
from keyborn.adapters.sql.schema import Migration
from keyborn.domain.errors import AuditBroken, OperatorError, RegistryTooNew, RegistryUnusable
from keyborn.domain.thing import ThingKind, ThingStatus
from support.registry_cases import Desk, event


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: mode(path) for path in folder.iterdir()}


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


# ── modes ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_the_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with SqliteRegistry(tmp_path / "registry.db") as registry:
            await registry.append(event())
            modes = modes_in(tmp_path)
    finally:
        os.umask(before)
    assert modes == {"registry.db": 0o600, "registry.db-wal": 0o600, "registry.db-shm": 0o600}


async def test_a_file_that_was_left_open_to_others_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        await registry.append(event())
    path.chmod(0o644)

    async with SqliteRegistry(path) as registry:
        assert mode(path) == 0o600
        assert len(await registry.records()) == 1


async def test_a_path_with_special_characters_is_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%41"
    folder.mkdir()
    async with SqliteRegistry(folder / "registry.db") as registry:
        await registry.append(event())
        names = {path.name for path in folder.iterdir()}
    assert names == {"registry.db", "registry.db-wal", "registry.db-shm"}


# ── refused ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        await registry.append(event())
    known = max(step.version for step in schema.migrations())
    execute(path, f"INSERT INTO schema_versions VALUES ({known + 1}, '{known + 1:04}_of_tomorrow')")
    before = path.read_bytes()

    with pytest.raises(RegistryTooNew, match=rf"{known + 1}.* up to {known}.*Upgrade Keyborn"):
        await SqliteRegistry(path).open()

    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["text", "foreign", "folder", "link", "truncated"])
async def test_what_is_no_registry_is_refused_with_a_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "registry.db"
    if kind == "text":
        path.write_text("not a database, but long enough to look like a file " * 100)
    elif kind == "foreign":
        execute(path, "CREATE TABLE recipes (name TEXT)")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        execute(tmp_path / "elsewhere.db", "CREATE TABLE recipes (name TEXT)")
        path.symlink_to(tmp_path / "elsewhere.db")
    else:
        schema.prepare(path)
        os.truncate(path, path.stat().st_size // 2 + 100)

    with pytest.raises(OperatorError) as refusal:
        await SqliteRegistry(path).open()
    assert isinstance(refusal.value, RegistryUnusable)
    assert str(path) in str(refusal.value)


async def test_a_folder_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnusable, match="No such file"):
        await SqliteRegistry(tmp_path / "nowhere" / "registry.db").open()


async def test_a_reader_that_cannot_open_closes_everything_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr("keyborn.adapters.sql.reads.connect_reader", refuse)
    registry = SqliteRegistry(tmp_path / "registry.db")

    with pytest.raises(RegistryUnusable):
        await registry.open()
    assert not registry._writer._thread.is_alive()


async def test_a_writer_that_cannot_start_is_said_at_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = SqliteRegistry(tmp_path / "registry.db")

    def refuse() -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(registry._writer, "_connect", refuse)
    with pytest.raises(RegistryUnusable):
        await registry.open()
    assert not registry._writer._thread.is_alive()


# ── migrations ────────────────────────────────────────────────────────────────────────────────────────


def test_migrations_are_numbered_without_gaps() -> None:
    """``migrate`` asks for those above what the file has: one that came later below would never run."""
    steps = schema.migrations()
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))
    assert steps[0].name == "0001_registry"


def test_every_table_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    schema.prepare(path)
    loose = execute(path, "SELECT name FROM pragma_table_list WHERE schema = 'main' AND NOT strict")
    assert [name for (name,) in loose if not str(name).startswith("sqlite_")] == []


def test_only_missing_steps_are_applied_each_once(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    first, second = schema.migrations()[0], Migration(2, "0002_more", "CREATE TABLE more (a TEXT) STRICT;\n")
    schema.prepare(path, [first])
    schema.prepare(path, [first, second])
    schema.prepare(path, [first, second])

    assert execute(path, "SELECT version, name FROM schema_versions") == [
        (1, "0001_registry"),
        (2, "0002_more"),
    ]


def test_a_step_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    first = schema.migrations()[0]
    broken = Migration(
        2, "0002_broken", "CREATE TABLE more (a TEXT) STRICT;\nCREATE TABLE things (a TEXT);\n"
    )

    with pytest.raises(RegistryUnusable, match="things already exists"):
        schema.prepare(path, [first, broken])

    assert execute(path, "SELECT max(version) FROM schema_versions") == [(1,)]
    assert execute(path, "SELECT name FROM sqlite_master WHERE name = 'more'") == []


def test_a_script_is_split_into_its_statements() -> None:
    script = (
        "-- one; and more\nCREATE TABLE a (b TEXT DEFAULT ';');\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n"
    )
    script += "  SELECT 1;\n  SELECT 2;\nEND;\n-- the end\n"
    statements = list(Migration(1, "0001_x", script).statements())
    assert len(statements) == 2
    assert statements[1].startswith("CREATE TRIGGER")


async def test_two_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    await asyncio.gather(*(asyncio.to_thread(schema.prepare, path) for _ in range(8)))
    assert execute(path, "SELECT count(*) FROM schema_versions") == [(len(schema.migrations()),)]


# ── tampering, backup by copy, scale ──────────────────────────────────────────────────────────────────


async def test_an_event_that_was_replaced_by_nonsense_is_told_as_broken(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        for number in range(3):
            await registry.append(event(f"{number}"))
        for nonsense in ("{}", "[]", "null", "no json", '{"at":5}', '{"at":"2026-01-01"}'):
            execute(path, f"UPDATE audit SET event = '{nonsense}' WHERE sequence = 2")
            with pytest.raises(AuditBroken, match="record 2"):
                await registry.records()


async def test_what_was_written_is_read_after_closing_and_opening(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        token = await desk.token("secret", "lamp-*", uses=9)
        certificate = await desk.enroll(token, "lamp-1", "k1")
        await desk.order("lamp-1", ThingStatus.SUSPENDED)
        suspended = await registry.certificate(certificate.id)
        seen = (await registry.things(), await registry.tokens(), await registry.records(), suspended)

    async with SqliteRegistry(path) as registry:
        again = (
            await registry.things(),
            await registry.tokens(),
            await registry.records(),
            await registry.certificate(certificate.id),
        )
    assert again == seen


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM things WHERE name = ?",
        "SELECT * FROM things WHERE folded = ?",
        rows.THINGS_OF[ThingKind.DEVICE] + "AND name > ? ORDER BY name LIMIT 100",
        rows.THINGS_OF[ThingKind.SERVICE] + "AND name > ? ORDER BY name LIMIT 100",
        "SELECT * FROM certificates WHERE id = ?",
        "SELECT * FROM certificates WHERE intent = ?",
        "SELECT * FROM certificates WHERE thing = ? ORDER BY number",
        "SELECT * FROM keys WHERE key_hash = ?",
        "SELECT * FROM keys WHERE thing = ?",
        "SELECT * FROM redemptions WHERE thing = ?",
        "SELECT * FROM intents WHERE thing = ?",
        rows.POLICIES + "WHERE name > ? ORDER BY name LIMIT 100",
        rows.POLICIES + "WHERE name IN (?)",
        policies.BADGE,
        "SELECT * FROM tokens WHERE id > ? ORDER BY id LIMIT 100",
        grouping.GROUPS + "WHERE name = ?",
        grouping.GROUPS_USED + "WHERE name > ? ORDER BY name LIMIT 100",
        grouping.REGISTERED + "WHERE key_hash = ?",
        grouping.REGISTERED + "WHERE grp = ? AND key_hash > 'x' ORDER BY key_hash LIMIT 100",
        grouping.APPROVALS + "WHERE state = 'pending' AND id > ? ORDER BY id LIMIT 100",
        "SELECT id FROM approvals WHERE expires_at < ? ORDER BY expires_at, id LIMIT 100",
        "SELECT * FROM accounts WHERE id > ? AND id < 'g:x;' AND id <> 'g:x:1'",
        api_keys.KEYS + "WHERE id = ?",
        api_keys.KEYS + "WHERE id > ? ORDER BY id LIMIT 100",
        "SELECT * FROM audit WHERE sequence > ? ORDER BY sequence LIMIT 100",
    ],
)
def test_no_question_walks_through_a_whole_table_or_sorts_it(tmp_path: Path, question: str) -> None:
    """Costs must not grow with the fleet (GOALS P10)."""
    path = tmp_path / "registry.db"
    schema.prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + question, ("x",))]
    assert all(step.startswith("SEARCH") for step in plan), plan


@pytest.mark.parametrize(
    ("question", "index"),
    [
        (rows.THINGS_OF[ThingKind.SERVICE] + "AND name > 'x' ORDER BY name LIMIT 100", "INDEX services"),
        (policies.USERS + "AND name > 'x' ORDER BY name LIMIT 100", "COVERING INDEX things_with_policies"),
        (policies.USERS + "LIMIT 1", "COVERING INDEX things_with_policies"),
        (policies.WAITING_TOKENS + "LIMIT 1", "INDEX tokens_with_policies"),
        (policies.GIVING_GROUPS + "LIMIT 1", "COVERING INDEX groups_with_policies"),
        (grouping.WAITING, "COVERING INDEX approvals_that_wait"),
    ],
)
def test_who_has_a_policy_is_asked_of_those_alone_who_have_one_by_name(
    tmp_path: Path, question: str, index: str
) -> None:
    path = tmp_path / "registry.db"
    schema.prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        values = ("x",) * question.count("?")
        ((*_, step),) = connection.execute("EXPLAIN QUERY PLAN " + question, values).fetchall()
    assert f"USING {index}" in step, step


async def test_a_device_that_has_the_default_policy_is_in_no_index_of_policies(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        await desk.enroll(await desk.token("default"), "lamp-1", "k1")
        await desk.enroll(await desk.token("named", policies=[]), "lamp-2", "k2")
    indexed = "SELECT count(*) FROM things INDEXED BY things_with_policies WHERE policies IS NOT NULL"
    assert execute(path, indexed) == [(1,)]
