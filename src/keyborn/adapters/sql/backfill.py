"""Folding the write-ahead log into the file, beside the writer, so that no commit waits for it.

SQLite would do it within a COMMIT, every so many pages, while a whole batch waits for its answers. Here a
thread with a connection of its own copies what has been committed; the writer goes on meanwhile, and then
copies the little that it has added, between two batches. Only a log that is copied whole begins again at its
start, so without that last step a writer that never rests would let it grow for ever.
"""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from enum import Enum
from queue import SimpleQueue

PAGES = 4000
"""Of the log between two folds: 16 MiB."""
_FEWEST, _MOST = 1000, 50_000
"""Rows written between two folds."""

_LAST_PATIENCE_MS = 100
"""How long a clean end waits for who still reads; the next start folds as well."""
_FOLD = "PRAGMA wal_checkpoint(PASSIVE)"
_log = logging.getLogger("keyborn.registry")


class _Order(Enum):
    """To the folding thread."""

    FOLD = "fold"
    END = "end"


class Backfill:
    """Counts what the writer writes, in rows, and folds about every ``pages`` pages."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], *, pages: int | None = None) -> None:
        """``connect`` is called in the folding thread; ``pages`` None: ``PAGES``."""
        self._connect = connect
        self._pages = pages or PAGES
        self._due = _FEWEST
        self._seen = 0
        """``total_changes`` of the writer's connection at the last fold."""
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._ordered = False
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self.folds = 0

    # ── in the writer's thread ────────────────────────────────────────────────────────────────────────

    def after_batch(self, writer: sqlite3.Connection) -> None:
        """Let a fold begin where it is due, and end one that the thread has done with."""
        rows = writer.total_changes - self._seen
        if rows < 0:
            self._seen, rows = 0, writer.total_changes  # another connection, after a failure
        if self._done.is_set():
            self._finish(writer, rows)
        elif rows >= self._due and not self._ordered:
            self._order()

    def close(self, writer: sqlite3.Connection | None) -> None:
        """Stop the thread; then fold everything, and leave no log behind if nobody reads."""
        self._orders.put(_Order.END)
        if self._thread is not None:
            self._thread.join()
        if writer is not None:
            with contextlib.suppress(sqlite3.Error):
                writer.execute(f"PRAGMA busy_timeout = {_LAST_PATIENCE_MS}")
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _order(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="keyborn-registry-backfill", daemon=True)
            self._thread.start()
        self._orders.put(_Order.FOLD)
        self._ordered = True

    def _finish(self, writer: sqlite3.Connection, rows: int) -> None:
        """Copy the rest, so that the log begins again; learn how many pages so many rows are."""
        self._done.clear()
        self._ordered = False
        pages = fold(writer)
        self._seen += rows
        self._due = min(max(rows * self._pages // max(pages, 1), _FEWEST), _MOST)
        self.folds += 1

    # ── in the folding thread ─────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while self._orders.get() is _Order.FOLD:
            with contextlib.suppress(sqlite3.Error):  # the writer tries, too, and says what is wrong
                connection = connection or self._connect()
                fold(connection)
            self._done.set()
        if connection is not None:
            connection.close()


def fold(connection: sqlite3.Connection) -> int:
    """Copy what nobody's reading or writing forbids to copy; how many pages the log has."""
    try:
        _, pages, _ = connection.execute(_FOLD).fetchall()[0]
    except sqlite3.Error as error:
        _log.warning("the write-ahead log could not be folded: %s", error)
        return 0
    return max(int(pages), 0)
