"""The outbox's file: private, of a version, brought up to date in place.

SQLite with a write-ahead log and ``synchronous=FULL``: a commit is one sync of the disk and survives a power
cut (docs/outbox.md has what a rollback journal costs). Where a file system has no shared memory for the log,
it is a rollback journal with ``synchronous=EXTRA``. Pages that fall free are used again, and given back to
the disk when many are free.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyborn.device import files
from keyborn.domain.errors import OutboxUnusable

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that is appending."""
VERSION = 1
"""``user_version`` of the file; 0 is a new file, or one of Keyborn 0.1 before it had versions."""
_LOG_SIZE = 4 * 1024 * 1024
_POLL = 0.02
_FIRST = """
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at TEXT NOT NULL,
    refused TEXT
)
"""
_STEPS = (
    "ALTER TABLE message ADD COLUMN qos INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE message ADD COLUMN expires_at REAL",
    "ALTER TABLE message ADD COLUMN strikes INTEGER",
    """ALTER TABLE message ADD COLUMN size INTEGER
        GENERATED ALWAYS AS (length(CAST(topic AS BLOB)) + length(payload)) VIRTUAL""",
    "CREATE INDEX message_refused ON message (id) WHERE refused IS NOT NULL",
    "CREATE INDEX message_expires ON message (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX message_suspect ON message (topic) WHERE strikes IS NOT NULL",
    # How those ended that are gone and were not delivered; `forgotten` below says from where on it is whole.
    "CREATE TABLE outcome (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, reason TEXT)",
    """CREATE TABLE ledger (
        waiting INTEGER NOT NULL, waiting_size INTEGER NOT NULL,
        refused INTEGER NOT NULL, refused_size INTEGER NOT NULL,
        dropped INTEGER NOT NULL, expired INTEGER NOT NULL,
        outcomes INTEGER NOT NULL, forgotten INTEGER NOT NULL)""",
    """INSERT INTO ledger SELECT
        count(*) FILTER (WHERE refused IS NULL), coalesce(sum(size) FILTER (WHERE refused IS NULL), 0),
        count(refused), coalesce(sum(size) FILTER (WHERE refused IS NOT NULL), 0), 0, 0, 0, 0
        FROM message""",
    """CREATE TRIGGER message_kept AFTER INSERT ON message BEGIN UPDATE ledger SET
        waiting = waiting + 1, waiting_size = waiting_size + NEW.size; END""",
    """CREATE TRIGGER message_gone AFTER DELETE ON message WHEN OLD.refused IS NULL BEGIN UPDATE ledger SET
        waiting = waiting - 1, waiting_size = waiting_size - OLD.size; END""",
    """CREATE TRIGGER refused_gone AFTER DELETE ON message WHEN OLD.refused IS NOT NULL BEGIN
        UPDATE ledger SET refused = refused - 1, refused_size = refused_size - OLD.size; END""",
    """CREATE TRIGGER message_refused AFTER UPDATE OF refused ON message
        WHEN OLD.refused IS NULL AND NEW.refused IS NOT NULL BEGIN UPDATE ledger SET
        waiting = waiting - 1, waiting_size = waiting_size - OLD.size,
        refused = refused + 1, refused_size = refused_size + OLD.size; END""",
    """CREATE TRIGGER message_retried AFTER UPDATE OF refused ON message
        WHEN OLD.refused IS NOT NULL AND NEW.refused IS NULL BEGIN UPDATE ledger SET
        waiting = waiting + 1, waiting_size = waiting_size + OLD.size,
        refused = refused - 1, refused_size = refused_size - OLD.size; END""",
    """CREATE TRIGGER outcome_known AFTER INSERT ON outcome BEGIN UPDATE ledger SET
        outcomes = outcomes + 1,
        dropped = dropped + (NEW.kind = 'dropped'), expired = expired + (NEW.kind = 'expired'); END""",
    f"PRAGMA user_version = {VERSION}",
)


@contextmanager
def open_file(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file, making it 0600 if it is not there, and bring it to this version.

    Raises OutboxUnusable (damaged, newer than this program, no place) or FileNotPrivate.
    """
    try:
        with contextlib.suppress(FileExistsError):
            files.write_new(path, b"")
            files.sync_folder(path.parent)
        files.require_private(path, path.lstat())  # unopened: closing it would end SQLite's locks (POSIX)
    except OSError as wrong:
        raise OutboxUnusable(path=path, detail=wrong.strerror or "it cannot be opened") from None
    with told(path), contextlib.closing(connect(path)) as connection:
        _bring_up_to_date(connection, path)
        yield connection


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into OutboxUnusable."""
    try:
        yield
    except sqlite3.Error as wrong:
        raise OutboxUnusable(path=path, detail=str(wrong)) from None


def connect(path: Path | str) -> sqlite3.Connection:
    """A connection in the most durable mode; tables may be missing."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heard while empty, or from FULL
        logged = _use_log(connection)
        connection.execute(f"PRAGMA synchronous = {'FULL' if logged else 'EXTRA'}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_SIZE}")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_log(connection: sqlite3.Connection) -> bool:
    """Switch to a write-ahead log; False where the file system has none.

    SQLite does not wait for others when it changes the journal's kind.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as wrong:
            if "locked" not in str(wrong) or time.monotonic() >= deadline:
                raise
            time.sleep(_POLL)
        else:
            return bool(mode == "wal")


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """All of it or nothing, in one transaction."""
    if _version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _upgrade(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)  # another process may have been here first
    if version == VERSION:
        return
    if version > VERSION:
        detail = f"a newer Keyborn wrote it (version {version}, this one knows {VERSION})"
        raise OutboxUnusable(path=path, detail=detail)
    there = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'message'").fetchone()[0]
    for step in _STEPS if there else (_FIRST, *_STEPS):
        connection.execute(step)


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
