"""Questions that do not wait for the writer: they see everything that has been committed.

Look-ups by key run on the caller's thread (microseconds); pages run in a worker thread on a connection of
their own, so that an operator's list never stalls the event loop.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from keyborn.adapters.sql import rows
from keyborn.adapters.sql.schema import connect_reader
from keyborn.domain.errors import RegistryUnavailable

T = TypeVar("T")


class Ask(Protocol):
    """A question within a snapshot."""

    def __call__(self, sql: str, *values: object) -> list[rows.Row]:
        """All rows; raises sqlite3.Error."""
        ...


class Reader:
    """One read-only connection; each question is a snapshot of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Connect; raises sqlite3.Error."""
        self._connection = connect_reader(self._path)

    def close(self) -> None:
        """Disconnect. Repeating is harmless."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def one(self, read: Callable[[rows.Row], T], sql: str, *values: object) -> T | None:
        """The only row, as a value. Raises RegistryUnavailable."""
        found = self._ask(sql, values)
        return read(found[0]) if found else None

    def version(self) -> int:
        """A number that is another one as soon as anybody else has committed. Raises RegistryUnavailable."""
        return int(self._ask("PRAGMA data_version", ())[0][0])

    def snapshot(self, read: Callable[[Ask], T]) -> T:
        """Several questions that are answered as of one moment. Raises RegistryUnavailable."""
        with self._lock:
            connection = self._connection
            if connection is None:
                raise RegistryUnavailable
            try:
                connection.execute("BEGIN")
                try:
                    return read(lambda sql, *values: connection.execute(sql, values).fetchall())
                finally:
                    connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise RegistryUnavailable from error

    async def page(self, read: Callable[[rows.Row], T], sql: str, *values: object) -> list[T]:
        """All rows, as values, read in a worker thread. Raises RegistryUnavailable."""
        return await asyncio.to_thread(self._page, read, sql, values)

    def _page(self, read: Callable[[rows.Row], T], sql: str, values: tuple[object, ...]) -> list[T]:
        return [read(row) for row in self._ask(sql, values)]

    def _ask(self, sql: str, values: tuple[object, ...]) -> list[rows.Row]:
        """Fetch everything at once: an unfinished statement would keep showing its old snapshot."""
        with self._lock:
            if self._connection is None:
                raise RegistryUnavailable
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise RegistryUnavailable from error
