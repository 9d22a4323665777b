"""The journal on a real file: batches, order, failures, and what it costs when nothing is durable."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from keyborn.adapters.broker import Journal, journal
from keyborn.adapters.broker.journal_file import JournalFile
from keyborn.adapters.broker.journal_rows import Changes, DeliveryRow, Pending, RetainedRow, SessionRow
from keyborn.domain.errors import BrokerFileUnusable, BrokerUnwritable, OperatorError
from support.broker import until
from support.durable import crash


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "broker.db")
    yield opened
    await opened.close()


def retain(made: Journal, topic: str, message: int = 1) -> None:
    made.changes.retained.put(topic, RetainedRow(topic, message))
    made.touch(urgent=True)


async def topics(made: Journal) -> list[str]:
    return sorted(row.topic for row in (await made.read()).retained)


def refuse(made: Journal, *, broken: list[bool]) -> None:
    """Make the file refuse while ``broken`` holds something."""
    write = made._file.write

    def sometimes(changes: Changes) -> None:
        if broken:
            raise sqlite3.OperationalError("database or disk is full")
        write(changes)

    made._file.write = sometimes  # type: ignore[method-assign] # the disk is what fails


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────


async def test_the_file_is_private_and_every_commit_is_synced(made: Journal) -> None:
    retain(made, "t")
    await made.durable()
    for each in made._file.path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    connection = made._file._connection
    assert connection is not None
    assert connection.execute("PRAGMA synchronous").fetchall() == [(2,)]
    assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


async def test_a_constructor_does_not_touch_the_disk(tmp_path: Path) -> None:
    Journal(JournalFile(tmp_path / "nowhere" / "broker.db"))._thread.shutdown()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(b"no database at all " * 100), "not a database"),
        (lambda path: path.mkdir(), "not a plain file"),
        (lambda path: path.symlink_to("elsewhere"), "not a plain file"),
    ],
)
async def test_a_file_that_is_none_is_refused_in_words(
    tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    path = tmp_path / "broker.db"
    spoil(path)
    with pytest.raises(BrokerFileUnusable, match=says) as refusal:
        await Journal.open(path)
    assert isinstance(refusal.value, OperatorError)
    assert str(path) in str(refusal.value)


async def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(BrokerFileUnusable, match="No such file"):
        await Journal.open(tmp_path / "missing" / "broker.db")


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    with pytest.raises(BrokerFileUnusable, match="another program"):
        await Journal.open(path)


async def test_a_later_keyborns_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    await (await Journal.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO schema_versions VALUES (2, 'later')")
    connection.close()
    with pytest.raises(BrokerFileUnusable, match="later Keyborn"):
        await Journal.open(path)


async def test_a_damaged_page_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    made = await Journal.open(path)
    for number in range(2000):
        retain(made, f"topic/{number:05}", number)
    await made.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    with pytest.raises(BrokerFileUnusable):
        await (await Journal.open(path)).read()


async def test_a_tables_absence_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    await (await Journal.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE retained")
    connection.close()
    made = await Journal.open(path)
    with pytest.raises(BrokerFileUnusable, match="no such table"):
        await made.read()
    await made.close()


async def test_the_room_of_a_flood_is_given_back_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    made = await Journal.open(path)
    for number in range(40):
        topic = f"{number}" + "x" * 1_000_000
        retain(made, topic)
    await made.durable()
    for topic in await topics(made):
        made.changes.retained.drop(topic)
    made.touch(urgent=True)
    await made.close()
    assert path.stat().st_size > 40_000_000
    await (await Journal.open(path)).close()
    assert path.stat().st_size < 1_000_000


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────


async def test_what_changes_in_one_turn_and_while_a_commit_runs_shares_a_commit(made: Journal) -> None:
    for number in range(100):
        retain(made, f"a{number}")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert made._writing is not None
    for number in range(100):
        retain(made, f"b{number}")
    await made.durable()
    assert made.commits == 2
    assert len(await topics(made)) == 200


async def test_who_waits_hears_in_order_and_only_when_it_is_on_disk(made: Journal) -> None:
    heard: list[tuple[int, bool, list[str]]] = []

    def note(number: int) -> Callable[[bool], None]:
        def _note(written: bool) -> None:  # noqa: FBT001 - a callback's one argument
            with sqlite3.connect(made._file.path) as reader:
                found = [topic for (topic,) in reader.execute("SELECT topic FROM retained ORDER BY topic")]
            reader.close()
            heard.append((number, written, found))

        return _note

    for number in range(3):
        retain(made, f"t{number}")
        made.when_written(note(number))
    await made.durable()
    await asyncio.sleep(0)
    assert heard == [(number, True, ["t0", "t1", "t2"]) for number in range(3)]


async def test_a_change_nobody_waits_for_is_written_later_and_rides_along(
    made: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LAZY_SECONDS", 0.01)
    made.changes.retained.put("lazy", RetainedRow("lazy", 1))
    made.touch(urgent=False)
    assert made.urgent == 0
    await asyncio.sleep(0)
    assert made.commits == 0
    await until(lambda: made.commits > 0)
    assert await topics(made) == ["lazy"]
    made.changes.retained.put("lazy2", RetainedRow("lazy2", 1))
    made.touch(urgent=False)
    retain(made, "urgent")
    await made.durable()
    assert made.commits == 2
    assert await topics(made) == ["lazy", "lazy2", "urgent"]


async def test_what_is_undone_before_it_was_written_is_never_written(made: Journal) -> None:
    heard: list[bool] = []
    made.changes.deliveries.add(7, DeliveryRow(7, 1, 1, retain=False, packet_id=None))
    made.touch(urgent=True)
    made.when_written(heard.append)
    made.changes.deliveries.drop(7)
    await made.durable()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert heard == [True]
    assert made.commits == 0


async def test_nothing_waits_where_nothing_has_changed(made: Journal) -> None:
    await made.durable()
    assert made.commits == 0


async def test_closing_writes_the_rest_and_a_repeat_is_harmless(tmp_path: Path) -> None:
    made = await Journal.open(tmp_path / "broker.db")
    made.changes.retained.put("t", RetainedRow("t", 1))
    made.touch(urgent=False)
    await made.close()
    await made.close()
    retain(made, "too late")
    with pytest.raises(BrokerUnwritable):
        await made.durable()
    again = await Journal.open(tmp_path / "broker.db")
    assert await topics(again) == ["t"]
    await again.close()


async def test_a_crash_keeps_what_was_committed_and_nothing_else(tmp_path: Path) -> None:
    made = await Journal.open(tmp_path / "broker.db")
    retain(made, "kept")
    await made.durable()
    retain(made, "lost")
    await crash(made)
    again = await Journal.open(tmp_path / "broker.db")
    assert await topics(again) == ["kept"]
    await again.close()


async def test_a_client_id_may_have_a_new_session_in_the_batch_that_ends_the_old(made: Journal) -> None:
    row = SessionRow(1, "me", "c" * 64, "me", "", 60, None)
    made.changes.sessions.put(1, row)
    made.touch(urgent=True)
    await made.durable()
    made.changes.sessions.put(2, row._replace(id=2))
    made.changes.sessions.drop(1)
    made.touch(urgent=True)
    await made.durable()
    assert [each.id for each in (await made.read()).sessions] == [2]


# ── a disk that refuses ───────────────────────────────────────────────────────────────────────────────


async def test_a_commit_that_fails_is_told_and_tried_again(
    made: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LAZY_SECONDS", 0.01)
    broken = [True]
    refuse(made, broken=broken)
    retain(made, "t")
    for _ in range(3):
        with pytest.raises(BrokerUnwritable):
            await made.durable()
    failing = [made.failing]
    assert [line for line in caplog.messages if "cannot write" in line] == [
        f"the broker cannot write {made._file.path}: database or disk is full"
    ]
    retain(made, "u")
    made.changes.retained.drop("t")
    broken.clear()
    await made.durable()
    assert [*failing, made.failing] == [True, False]
    assert caplog.messages[-1] == f"the broker can write {made._file.path} again"
    assert await topics(made) == ["u"], "the newer change counts"


async def test_what_a_failed_commit_held_is_written_although_nothing_else_happens(
    made: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LAZY_SECONDS", 0.01)
    broken = [True]
    refuse(made, broken=broken)
    retain(made, "t")
    with pytest.raises(BrokerUnwritable):
        await made.durable()
    broken.clear()
    await until(lambda: not made.failing)
    assert await topics(made) == ["t"]


async def test_a_real_error_inside_a_transaction_leaves_nothing_of_it(made: Journal) -> None:
    """A value that SQLite cannot bind, in the last table of the batch."""
    retain(made, "kept")
    await made.durable()
    bad = Changes()
    bad.sessions.put(9, SessionRow(9, "me", "c", "me", "", 60, None))
    bad.retained.put("t", RetainedRow("t", 1 << 70))
    with pytest.raises(OverflowError):
        await made._run(lambda: made._file.write(bad))
    retain(made, "after")
    await made.durable()
    kept = await made.read()
    assert (kept.sessions, await topics(made)) == ([], ["after", "kept"])


async def test_a_journal_that_cannot_write_at_its_end_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = await Journal.open(tmp_path / "broker.db")
    refuse(made, broken=[True])
    retain(made, "t")
    await made.close()
    assert "latest changes could not be written" in caplog.text


async def test_whoever_gives_up_waiting_disturbs_nobody(made: Journal) -> None:
    retain(made, "t")
    waiting = asyncio.create_task(made.durable())
    await asyncio.sleep(0)
    waiting.cancel()
    await made.durable()
    assert await topics(made) == ["t"]


# ── rows that wait ────────────────────────────────────────────────────────────────────────────────────


def test_a_row_that_was_never_written_needs_no_deletion() -> None:
    pending: Pending[int, RetainedRow] = Pending()
    pending.add(1, RetainedRow("t", 1))
    pending.put(1, RetainedRow("t", 2))
    pending.drop(1)
    assert pending.rows == {}
    pending.put(2, RetainedRow("t", 1))
    pending.drop(2)
    assert pending.rows == {2: None}


def test_what_is_taken_back_may_be_on_disk_after_all() -> None:
    older: Pending[int, RetainedRow] = Pending()
    older.add(1, RetainedRow("a", 1))
    older.add(2, RetainedRow("b", 1))
    newer: Pending[int, RetainedRow] = Pending()
    newer.drop(2)
    newer.take_back(older)
    assert newer.rows == {1: RetainedRow("a", 1), 2: None}
    newer.drop(1)
    assert newer.rows == {1: None, 2: None}
