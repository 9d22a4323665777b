"""The outbox: messages on disk, in order, until the broker has acknowledged them.

SQLite with a rollback journal and ``synchronous=EXTRA``: when ``append`` returns, the message survives a
power cut. A message leaves only by acknowledgement; what the broker will never take is set aside with the
reason.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from keyborn.device import files
from keyborn.domain.errors import OutboxUnusable

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that is appending."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at TEXT NOT NULL,
    refused TEXT
)
"""


@dataclass(frozen=True, slots=True)
class Message:
    """One message that waits; ids grow with age."""

    id: int
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a message: still waiting, refused for a reason, or (neither) delivered."""

    waiting: bool
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was set aside, without its payload."""

    topic: str
    created_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many wait, how many were set aside."""

    waiting: int
    refused: int


class Outbox:
    """An open outbox; make one with ``open_outbox``."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def append(self, topic: str, payload: bytes, at: datetime) -> int:
        """Keep a message, durably, and return its id; raises OutboxUnusable, and then nothing was kept."""
        with self._told():
            cursor = self._connection.execute(
                "INSERT INTO message (topic, payload, created_at) VALUES (?, ?, ?)",
                (topic, payload, at.isoformat()),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def oldest(self) -> Message | None:
        """The message to send next, or None."""
        query = "SELECT id, topic, payload FROM message WHERE refused IS NULL ORDER BY id LIMIT 1"
        with self._told():
            row = self._connection.execute(query).fetchone()
        return None if row is None else Message(*row)

    def delivered(self, message: int) -> None:
        """The broker has acknowledged it."""
        with self._told():
            self._connection.execute("DELETE FROM message WHERE id = ?", (message,))

    def refuse(self, message: int, reason: str) -> None:
        """The broker will never take it: set it aside."""
        with self._told():
            self._connection.execute("UPDATE message SET refused = ? WHERE id = ?", (reason, message))

    def fate(self, message: int) -> Fate:
        """What became of a message."""
        with self._told():
            row = self._connection.execute("SELECT refused FROM message WHERE id = ?", (message,)).fetchone()
        return Fate(waiting=False) if row is None else Fate(row[0] is None, row[0])

    def set_aside(self, limit: int) -> list[Refused]:
        """The last ``limit`` messages that the broker refused, the oldest of them first."""
        query = (
            "SELECT topic, created_at, refused FROM message"
            " WHERE refused IS NOT NULL ORDER BY id DESC LIMIT ?"
        )
        with self._told():
            rows = self._connection.execute(query, (limit,)).fetchall()
        return [Refused(topic, datetime.fromisoformat(at), reason) for topic, at, reason in reversed(rows)]

    def counts(self) -> Counts:
        """How many wait, how many were set aside."""
        with self._told():
            total, refused = self._connection.execute(
                "SELECT count(*), count(refused) FROM message"
            ).fetchone()
        return Counts(total - refused, refused)

    @contextmanager
    def _told(self) -> Iterator[None]:
        with told(self._path):
            yield


@contextmanager
def open_outbox(path: Path) -> Iterator[Outbox]:
    """Open the outbox, making it 0600 if it is not there; raises OutboxUnusable or FileNotPrivate."""
    try:
        with contextlib.suppress(FileExistsError):
            files.write_new(path, b"")
            files.sync_folder(path.parent)
        with open(files.open_private(path), "rb"):  # noqa: PTH123 - the descriptor, only to have it checked
            pass
    except OSError as wrong:
        raise OutboxUnusable(path=path, detail=wrong.strerror or "it cannot be opened") from None
    with told(path), contextlib.closing(_connect(path)) as connection:
        yield Outbox(connection, path)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into OutboxUnusable."""
    try:
        yield
    except sqlite3.Error as wrong:
        raise OutboxUnusable(path=path, detail=str(wrong)) from None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = FULL")  # heard only while the file is still empty
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
