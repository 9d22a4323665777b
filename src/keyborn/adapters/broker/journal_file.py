"""The broker's file: its schema, one commit per batch, and reading it all back."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keyborn.adapters.broker.journal_rows import (
    Changes,
    DeliveryRow,
    Kept,
    MessageRow,
    Pending,
    RetainedRow,
    SessionRow,
    SubscriptionRow,
)
from keyborn.adapters.broker.packets import Subscription
from keyborn.adapters.sql.schema import Migration, connect_writer, prepare
from keyborn.domain.errors import BrokerFileUnusable, RegistryTooNew, RegistryUnusable

_SCHEMA = Migration(
    1,
    "sessions",
    """
CREATE TABLE sessions (
    id          INTEGER PRIMARY KEY,
    client_id   TEXT NOT NULL UNIQUE,
    certificate TEXT NOT NULL,
    thing       TEXT NOT NULL,
    attributes  TEXT NOT NULL,
    expiry      INTEGER NOT NULL,
    ends        INTEGER
) STRICT;

CREATE TABLE subscriptions (
    session             INTEGER NOT NULL,
    topic_filter        TEXT NOT NULL,
    qos                 INTEGER NOT NULL,
    no_local            INTEGER NOT NULL,
    retain_as_published INTEGER NOT NULL,
    retain_handling     INTEGER NOT NULL,
    PRIMARY KEY (session, topic_filter)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    id         INTEGER PRIMARY KEY,
    topic      TEXT NOT NULL,
    payload    BLOB NOT NULL,
    qos        INTEGER NOT NULL,
    thing      TEXT,
    properties BLOB NOT NULL,
    expires    INTEGER
) STRICT;

CREATE TABLE deliveries (
    id        INTEGER PRIMARY KEY,
    session   INTEGER NOT NULL,
    message   INTEGER NOT NULL,
    retain    INTEGER NOT NULL,
    packet_id INTEGER
) STRICT;

CREATE TABLE retained (
    topic   TEXT NOT NULL PRIMARY KEY,
    message INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
""",
)
_FORGET = (
    "DELETE FROM deliveries WHERE session IN (SELECT id FROM sessions WHERE thing = :thing)",
    "DELETE FROM deliveries WHERE message IN (SELECT id FROM messages WHERE thing = :thing)",
    "DELETE FROM subscriptions WHERE session IN (SELECT id FROM sessions WHERE thing = :thing)",
    "DELETE FROM sessions WHERE thing = :thing",
    "DELETE FROM retained WHERE message IN (SELECT id FROM messages WHERE thing = :thing)",
    "DELETE FROM messages WHERE thing = :thing",
)
"""Messages of others that nobody waits for any more are dropped when the file is read."""
_WASTE_PAGES = 8192
"""32 MiB of free pages: more than that, and more than half of the file, is given back at the next start."""


class JournalFile:
    """``broker.db``. Its methods block; one thread at a time may call them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Make or check the file. Raises BrokerFileUnusable."""
        try:
            prepare(self.path, [_SCHEMA])
            self._connection = connect_writer(self.path)
            ((verdict,),) = self._connection.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"it is damaged ({verdict})")
            self._prove_writable()
            self._shrink()
        except RegistryTooNew as error:
            raise BrokerFileUnusable(path=self.path, detail="it was written by a later Keyborn") from error
        except RegistryUnusable as error:
            raise BrokerFileUnusable(path=self.path, detail=error.facts["detail"]) from error
        except sqlite3.Error as error:
            self.close()
            raise BrokerFileUnusable(path=self.path, detail=error) from error

    def _prove_writable(self) -> None:
        """Take the write lock, and write the file's own version once more."""
        assert self._connection is not None
        self._connection.execute("BEGIN IMMEDIATE")
        ((version,),) = self._connection.execute("PRAGMA user_version").fetchall()
        self._connection.execute(f"PRAGMA user_version = {int(version)}")
        self._connection.execute("COMMIT")

    def _shrink(self) -> None:
        """Give a great flood's pages back; only here, where nobody waits."""
        assert self._connection is not None
        ((pages,),) = self._connection.execute("PRAGMA page_count").fetchall()
        ((free,),) = self._connection.execute("PRAGMA freelist_count").fetchall()
        if free > max(_WASTE_PAGES, pages // 2):
            with contextlib.suppress(sqlite3.OperationalError):  # no room for the copy: then not
                self._connection.execute("VACUUM")

    def close(self) -> None:
        """Close; after an error that undoes what was not committed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def write(self, changes: Changes) -> None:
        """One transaction, durable when this returns. Raises sqlite3.Error, and then nothing of it holds.

        After an error only a new connection starts from what is on disk.
        """
        try:
            if self._connection is None:
                self._connection = connect_writer(self.path)
            self._connection.execute("BEGIN IMMEDIATE")
            _apply(self._connection, changes)
            self._connection.execute("COMMIT")
        except BaseException:
            self.close()
            raise

    def forget(self, thing: str) -> None:
        """Delete the thing's sessions and what it published, durably. Raises sqlite3.Error."""
        assert self._connection is not None
        self._connection.execute("BEGIN IMMEDIATE")
        for statement in _FORGET:
            self._connection.execute(statement, {"thing": thing})
        self._connection.execute("COMMIT")

    def read(self) -> Kept:
        """Everything. Raises BrokerFileUnusable."""
        assert self._connection is not None
        ask = self._connection.execute
        try:
            return Kept(
                [SessionRow(*row) for row in ask("SELECT * FROM sessions ORDER BY id")],
                [_subscription(*row) for row in ask("SELECT * FROM subscriptions")],
                [MessageRow(*row) for row in ask("SELECT * FROM messages ORDER BY id")],
                [_delivery(*row) for row in ask("SELECT * FROM deliveries ORDER BY id")],
                [RetainedRow(*row) for row in ask("SELECT * FROM retained ORDER BY message")],
            )
        except (sqlite3.Error, TypeError) as error:
            raise BrokerFileUnusable(path=self.path, detail=error) from error


def _subscription(session: int, topic_filter: str, qos: int, *options: int) -> SubscriptionRow:
    no_local, as_published, handling = options
    return SubscriptionRow(
        session, Subscription(topic_filter, qos, bool(no_local), bool(as_published), handling)
    )


def _delivery(name: int, session: int, message: int, retain: int, packet_id: int | None) -> DeliveryRow:
    return DeliveryRow(name, session, message, bool(retain), packet_id)


def _apply(connection: sqlite3.Connection, changes: Changes) -> None:
    """Deletions of sessions first: a client id may have a new one already."""
    many = connection.executemany
    many("DELETE FROM sessions WHERE id = ?", _gone(changes.sessions))
    many("REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", _there(changes.sessions))
    subscriptions = changes.subscriptions.rows
    many(
        "DELETE FROM subscriptions WHERE session = ? AND topic_filter = ?",
        [key for key, row in subscriptions.items() if row is None],
    )
    many(
        "REPLACE INTO subscriptions VALUES (?, ?, ?, ?, ?, ?)",
        [(row.session, *row.wanted) for row in subscriptions.values() if row is not None],
    )
    many("DELETE FROM messages WHERE id = ?", _gone(changes.messages))
    many("REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", _there(changes.messages))
    many("DELETE FROM deliveries WHERE id = ?", _gone(changes.deliveries))
    many("REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?)", _there(changes.deliveries))
    many("DELETE FROM retained WHERE topic = ?", _gone(changes.retained))
    many("REPLACE INTO retained VALUES (?, ?)", _there(changes.retained))


def _gone(pending: Pending[Any, Any]) -> Iterator[tuple[Any]]:
    return ((key,) for key, row in pending.rows.items() if row is None)


def _there(pending: Pending[Any, Any]) -> Iterable[Any]:
    return (row for row in pending.rows.values() if row is not None)
