"""The outbox's file: private, durable, of a version; an old one is brought up to date, nothing is lost."""

import os
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyborn.device import files, outbox_file
from keyborn.device.messages import Counts, Draft, Fate, Message, Outcome
from keyborn.device.outbox import Outbox, open_outbox
from keyborn.domain.errors import FileNotPrivate, OutboxUnusable
from support.device_home import now

OLD_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at TEXT NOT NULL,
    refused TEXT
)
"""
"""What Keyborn 0.1 wrote."""
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def old_file(path: Path) -> None:
    """Three messages of Keyborn 0.1 with ids 2 to 4; number 1 was delivered, number 3 refused."""
    files.write_new(path, b"")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = FULL")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute(OLD_SCHEMA)
    for number in range(1, 5):
        connection.execute(
            "INSERT INTO message (topic, payload, created_at) VALUES (?, ?, ?)",
            (f"täglich/{number}", bytes([number]) * number, AT.isoformat()),
        )
    connection.execute("DELETE FROM message WHERE id = 1")
    connection.execute("UPDATE message SET refused = 'Not authorized' WHERE id = 3")
    connection.close()


def pragma(outbox: Outbox, name: str) -> object:
    return outbox._connection.execute(f"PRAGMA {name}").fetchone()[0]


# ── private ──


def test_the_files_are_private_from_the_start(path: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_outbox(path) as outbox:
            outbox.append("t", b"x", now())
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(modes) == {"outbox.db", "outbox.db-wal", "outbox.db-shm"}
    assert set(modes.values()) == {0o600}


def test_nothing_is_left_beside_it_when_it_is_closed(path: Path, tmp_path: Path) -> None:
    with open_outbox(path) as outbox:
        outbox.append("t", b"x", now())
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    files.write_new(path, b"")
    path.chmod(0o644)
    with pytest.raises(FileNotPrivate), open_outbox(path):
        pass


def test_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileNotPrivate), open_outbox(path):
        pass
    assert not (tmp_path / "elsewhere").exists()


# ── what cannot be used ──


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutboxUnusable, match="No such file"), open_outbox(tmp_path / "none" / "outbox.db"):
        pass


def test_a_damaged_file_is_said_and_not_touched(path: Path) -> None:
    files.write_new(path, b"not a database at all" * 99)
    with pytest.raises(OutboxUnusable, match="not a database"), open_outbox(path):
        pass
    assert path.read_bytes() == b"not a database at all" * 99


def test_a_page_that_was_overwritten_is_said(path: Path) -> None:
    with open_outbox(path) as outbox:
        outbox.append_many([Draft("t", bytes(900))] * 200, now())
    data = bytearray(path.read_bytes())
    data[3 * 4096 :] = b"\xa5" * len(data[3 * 4096 :])
    path.write_bytes(data)
    with open_outbox(path) as outbox, pytest.raises(OutboxUnusable, match="malformed"):
        outbox.waiting(0, 999)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE message SET topic = x'ff00'",
        "UPDATE message SET payload = 'text'",
        "UPDATE message SET topic = printf('%.*c', 70000, 'x')",
        "UPDATE message SET qos = 7",
        "UPDATE message SET expires_at = 'soon'",
        "UPDATE message SET expires_at = 9e999",
        "UPDATE message SET strikes = 'x'",
        "UPDATE message SET created_at = 'never'",
        "UPDATE outcome SET kind = 'x'",
        "UPDATE ledger SET waiting = 'x'",
    ],
)
def test_what_no_outbox_wrote_is_said_and_ends_no_agent(path: Path, damage: str) -> None:
    """SQLite keeps to no type, and checks no sums: a flipped bit can make anything of a row."""
    with open_outbox(path) as outbox:
        outbox.append_many([Draft("t", b"x")] * 3, now())
        outbox.settle([(1, Fate(Outcome.EXPIRED)), (2, Fate(Outcome.QUARANTINED, "no"))])
        outbox._connection.execute(damage)
        with pytest.raises(OutboxUnusable, match="damaged"):
            look_at_all_of(outbox)


def look_at_all_of(outbox: Outbox) -> None:
    outbox.waiting(0, 9)
    outbox.suspects()
    outbox.counts()
    outbox.set_aside(9)
    outbox.fate(1)


def test_a_file_of_a_newer_program_is_left_alone(path: Path) -> None:
    with open_outbox(path) as outbox:
        outbox._connection.execute(f"PRAGMA user_version = {outbox_file.VERSION + 1}")
    with pytest.raises(OutboxUnusable, match="a newer Keyborn wrote it"), open_outbox(path):
        pass


def test_a_file_of_somebody_who_holds_it_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_file, "BUSY_TIMEOUT", 0.1)
    files.write_new(path, b"")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(OutboxUnusable, match="locked"), open_outbox(path):
            pass
    finally:
        holder.close()


# ── durable ──


def test_a_commit_is_synced_and_free_pages_can_be_given_back(path: Path) -> None:
    """2 is FULL: each commit syncs the log. 2 is INCREMENTAL."""
    with open_outbox(path) as outbox:
        told = (pragma(outbox, "journal_mode"), pragma(outbox, "synchronous"), pragma(outbox, "auto_vacuum"))
    assert told == ("wal", 2, 2)


def test_without_a_log_the_rollback_journal_s_removal_is_synced_too() -> None:
    """3 is EXTRA. A database in memory has no log, as a file system without shared memory."""
    connection = outbox_file.connect(":memory:")
    assert connection.execute("PRAGMA synchronous").fetchone() == (3,)
    connection.close()


def test_room_is_given_back(path: Path) -> None:
    with open_outbox(path) as outbox:
        kept = outbox.append_many([Draft("t", bytes(65_536))] * 30, now())
        for number in kept:
            outbox.settle([(number, Fate(Outcome.DELIVERED))])
    assert path.stat().st_size < 131_072


def test_a_long_life_does_not_grow_the_file(path: Path) -> None:
    """Ever the same few messages: neither the file nor its log grows with what has passed through."""
    with open_outbox(path) as outbox:
        for _ in range(60):
            kept = outbox.append_many([Draft("t", bytes(4096))] * 20, now())
            outbox.settle((number, Fate(Outcome.DELIVERED)) for number in kept)
        sizes = [each.stat().st_size for each in path.parent.iterdir() if not each.name.endswith("-shm")]
    assert sum(sizes) < 6 * 1024 * 1024


# ── versions ──


def test_an_old_file_keeps_all_that_it_held(path: Path) -> None:
    old_file(path)
    with open_outbox(path) as outbox:
        assert outbox.waiting(0, 9) == [
            Message(2, "täglich/2", b"\x02\x02"),
            Message(4, "täglich/4", b"\x04" * 4),
        ]
        assert outbox.counts() == Counts(2, 1)
        assert outbox.size() == 2 * len("täglich/2".encode()) + 2 + 4
        (aside,) = outbox.set_aside(9)
        assert (aside.id, aside.topic, aside.created_at) == (3, "täglich/3", AT)
        assert outbox.fate(1) == Fate(Outcome.DELIVERED)
        assert outbox.append("t", b"", now()) == 5


def test_an_old_file_becomes_a_new_one_in_every_way(path: Path, tmp_path: Path) -> None:
    def schema(of: Path) -> set[str]:
        with open_outbox(of) as outbox:
            return {row[0] for row in outbox._connection.execute("SELECT name FROM sqlite_schema")}

    old_file(path)
    assert schema(path) == schema(tmp_path / "new.db")
    with open_outbox(path) as outbox:
        assert (pragma(outbox, "journal_mode"), pragma(outbox, "auto_vacuum")) == ("wal", 2)
        assert pragma(outbox, "user_version") == outbox_file.VERSION


@pytest.mark.parametrize("step", range(len(outbox_file._STEPS)))
def test_an_upgrade_that_is_cut_short_has_not_begun(
    path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(path)
    steps = list(outbox_file._STEPS)
    with monkeypatch.context() as patched:
        patched.setattr(outbox_file, "_STEPS", (*steps[:step], "no SQL at all"))
        with pytest.raises(OutboxUnusable, match="syntax"), open_outbox(path):
            pass
    with open_outbox(path) as outbox:
        assert outbox.counts() == Counts(2, 1)


def test_many_that_open_an_old_file_at_once_upgrade_it_once(path: Path) -> None:
    old_file(path)
    program = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC\n"
        "from keyborn.device.outbox import open_outbox\n"
        "for _ in range(5):\n"
        "    with open_outbox(Path(sys.argv[1])) as outbox: outbox.append('t', b'', datetime.now(UTC))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, path]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    with open_outbox(path) as outbox:
        assert outbox.counts() == Counts(17, 1)


# ── several at once ──


def test_what_two_connections_of_one_program_hold_no_other_program_takes_away(path: Path) -> None:
    """POSIX locks belong to a process: to close a descriptor of the file gives up those of SQLite.

    The next one that closes the outbox would think itself the last, and remove the log that is in use: what
    is written then, nobody else sees, and it is gone with the process.
    """
    program = (
        "import sys; from pathlib import Path; from keyborn.device.outbox import open_outbox\n"
        "with open_outbox(Path(sys.argv[1])) as outbox: print(outbox.counts().waiting)\n"
    )

    def others_see() -> int:
        return int(
            subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=True).stdout
        )

    with open_outbox(path) as first:
        first.append("t", b"1", now())
        with open_outbox(path) as second:
            assert others_see() == 1
            first.append("t", b"2", now())
            second.append("t", b"3", now())
            assert others_see() == 3
        first.append("t", b"4", now())
        assert others_see() == 4
    with open_outbox(path) as outbox:
        assert outbox.counts() == Counts(4, 0)
