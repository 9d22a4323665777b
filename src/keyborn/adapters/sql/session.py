"""What a command sees of the writing transaction: a few verbs, and the end of the audit chain."""

import sqlite3
from collections.abc import Sequence

from keyborn.adapters.sql import rows
from keyborn.domain.audit import AuditEvent, ChainHead, canonical, link

_HEAD = "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1"
_CHAIN = "INSERT INTO audit (sequence, event, previous, hash) VALUES (?, ?, ?, ?)"


class Session:
    """One transaction of the writer, shared by a batch of commands.

    Commands run one after the other in it. A savepoint for each costs as much as one of its statements, so
    there are none until a command has failed half done; then the batch is run again, with them.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._execute_many = connection.executemany
        self._head = self._head_before = ChainHead()

    def begin(self) -> "Session":
        """Take the write lock and look where the audit trail ends."""
        self._execute("BEGIN IMMEDIATE")
        row = self.one(_HEAD)
        self._head = ChainHead() if row is None else ChainHead(*row)
        return self

    def ready(self) -> None:
        """Do nothing: a command that shows the writer is at work."""

    def one(self, sql: str, *values: object) -> rows.Row | None:
        """The only row, or None. Everything is fetched, so that no statement stays open."""
        found = self._execute(sql, values).fetchall()
        return found[0] if found else None

    def all(self, sql: str, *values: object) -> list[rows.Row]:
        """Every row."""
        return self._execute(sql, values).fetchall()

    def many(self, sql: str, values: Sequence[Sequence[object]]) -> None:
        """Write the same for each of ``values``."""
        self._execute_many(sql, values)

    def run(self, sql: str, *values: object) -> int:
        """Write; how many rows it touched."""
        return self._execute(sql, values).rowcount

    def chain(self, event: AuditEvent) -> None:
        """Append an event to the audit trail; it stays only if the command's effect does."""
        body, previous = canonical(event), self._head
        sequence = previous.sequence + 1
        digest = link(previous.hash, sequence, body)
        self._execute(_CHAIN, (sequence, body, previous.hash, digest))
        self._head = ChainHead(sequence, digest)

    # ── for the writer alone ──────────────────────────────────────────────────────────────────────────

    @property
    def changes(self) -> int:
        """Rows that this connection has written since it was opened; what was taken back counts, too."""
        return self._connection.total_changes

    def restart(self) -> None:
        """Take back the whole transaction and begin another."""
        self._execute("ROLLBACK")
        self.begin()

    def begin_command(self) -> None:
        """From here on, ``undo_command`` can go back to this point."""
        self._execute("SAVEPOINT command")
        self._head_before = self._head

    def keep_command(self) -> None:
        """The command's effect joins the batch."""
        self._execute("RELEASE command")

    def undo_command(self) -> None:
        """Take back all that the command wrote; the commands before it are untouched."""
        self._execute("ROLLBACK TO command")
        self._execute("RELEASE command")
        self._head = self._head_before

    def commit(self) -> None:
        """Make the batch durable."""
        self._execute("COMMIT")
