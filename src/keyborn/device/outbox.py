"""The outbox: messages on disk, in order, until the broker has acknowledged them.

When ``append`` returns, the message survives a power cut (``outbox_file``). A message leaves by
acknowledgement, by the end of its time, or where the outbox is bounded and full, to make room; what the
broker will never take is set aside with the reason. Whoever knows a message's id can ask what became of it,
from any process.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

from keyborn.device.messages import Counts, Draft, Fate, Message, OutboxLimits, Outcome, Overflow, Refused
from keyborn.device.outbox_file import open_file, told
from keyborn.device.topics import MAX_TOPIC
from keyborn.domain.errors import MessageUnknown, OutboxFull

REMEMBERED = 10_000
"""How many ends other than delivery are remembered, at least."""
_FORGOTTEN_AT_ONCE = 1000
_FEW_PAGES = 16
_PAGES_AT_ONCE = 1024
_COLUMNS = "id, topic, payload, qos, expires_at, strikes"
_ROOM = "it had to make room for newer messages"
_NO_ROOM = "there was no room for it"
_NO_ROOM_ASIDE = "too many messages were set aside after it"
_BY_HAND = "dropped by hand"

Observer = Callable[[int, Fate], None]
"""Called with a message's id once its end is on disk."""


class Outbox:
    """An open outbox, for one thread; make one with ``open_outbox``."""

    def __init__(self, connection: sqlite3.Connection, path: Path, limits: OutboxLimits) -> None:
        self._connection = connection
        self._path = path
        self._limits = limits
        self._observers: list[Observer] = []
        self._news: list[tuple[int, Fate]] = []
        self._changes = 0

    # ── in ──

    def append(
        self, topic: str, payload: bytes, at: datetime, *, qos: int = 1, lifetime: float | None = None
    ) -> int:
        """Keep a message, durably, and return its id; raises as ``append_many``."""
        return self.append_many([Draft(topic, payload, qos, lifetime)], at)[0]

    def append_many(self, drafts: Sequence[Draft], at: datetime) -> list[int]:
        """Keep messages, durably, in one transaction; returns their ids, in order.

        Where they do not all fit, the policy decides: a message that was dropped has an id, too, and a fate.
        Raises OutboxFull (policy ``refuse``) or OutboxUnusable, and then nothing was kept.
        """
        wall, created = at.timestamp(), at.isoformat()
        rows = [
            (each.topic, each.payload, created, each.qos, each.lifetime and wall + each.lifetime)
            for each in drafts
        ]
        with self._transaction() as run:
            run.executemany(
                "INSERT INTO message (topic, payload, created_at, qos, expires_at) VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            (last,) = run.execute("SELECT last_insert_rowid()").fetchone()
            ids = list(range(last - len(rows) + 1, last + 1))
            if not self._fits():
                self._make_room(ids, wall)
        return ids

    # ── out ──

    def waiting(self, after: int, limit: int) -> list[Message]:
        """Up to ``limit`` messages with ids beyond ``after``, in order: what may be sent without suspicion.

        Topics that hold a suspect are left out, or a message would overtake another one of its topic.
        """
        query = (
            f"SELECT {_COLUMNS} FROM message WHERE refused IS NULL AND strikes IS NULL AND id > ?"  # noqa: S608 - ours
            " AND topic NOT IN (SELECT topic FROM message WHERE strikes IS NOT NULL) ORDER BY id LIMIT ?"
        )
        with self._told():
            return [_message(row) for row in self._connection.execute(query, (after, limit))]

    def suspects(self) -> list[Message]:
        """The messages on which the broker may have hung up, in order."""
        query = f"SELECT {_COLUMNS} FROM message WHERE strikes IS NOT NULL ORDER BY id"  # noqa: S608 - ours
        with self._told():
            return [_message(row) for row in self._connection.execute(query)]

    def settle(self, ends: Iterable[tuple[int, Fate]]) -> None:
        """Record how messages ended, in one transaction: delivered, quarantined, expired or dropped."""
        told = list(ends)
        others = [(message, fate) for message, fate in told if fate.outcome is not Outcome.DELIVERED]
        with self._transaction():
            self._deliver([message for message, fate in told if fate.outcome is Outcome.DELIVERED])
            for message, fate in others:
                self._end(message, fate)
            if any(fate.outcome is Outcome.QUARANTINED for _, fate in others):
                self._trim_aside()
        self._give_back()

    def suspect(self, strikes: Mapping[int, int]) -> None:
        """Note how often the broker hung up on each of these alone."""
        rows = [(count, message) for message, count in strikes.items()]
        with self._transaction() as run:
            run.executemany("UPDATE message SET strikes = ? WHERE id = ? AND refused IS NULL", rows)

    # ── what became of them ──

    def fate(self, message: int) -> Fate:
        """What became of a message."""
        with self._told():
            row = self._one("SELECT refused FROM message WHERE id = ?", message)
            if row is not None:
                return Fate(Outcome.WAITING) if row[0] is None else Fate(Outcome.QUARANTINED, row[0])
            row = self._one("SELECT kind, reason FROM outcome WHERE id = ?", message)
            if row is not None:
                return _fate(*row)
            row = self._one(
                "SELECT forgotten < ?1 AND ?1 <= (SELECT seq FROM sqlite_sequence) FROM ledger", message
            )
        return Fate(Outcome.DELIVERED if row and row[0] else Outcome.FORGOTTEN)

    def observe(self, observer: Observer) -> None:
        """Have ``observer`` called for every end that is recorded through this object."""
        self._observers.append(observer)

    def set_aside(self, limit: int) -> list[Refused]:
        """The last ``limit`` messages that the broker refused, the oldest of them first."""
        query = (
            "SELECT id, topic, created_at, refused, length(payload) FROM message"
            " WHERE refused IS NOT NULL ORDER BY id DESC LIMIT ?"
        )
        with self._told():
            rows = self._connection.execute(query, (limit,)).fetchall()
            return [_refused(row) for row in reversed(rows)]

    def retry(self, messages: Sequence[int] | None) -> int:
        """Let messages that were set aside wait again, all of them for None; returns how many.

        Raises MessageUnknown or OutboxFull, and then nothing was changed.
        """
        with self._transaction() as run:
            for message in (chosen := self._aside(messages)):
                run.execute("UPDATE message SET refused = NULL, strikes = NULL WHERE id = ?", (message,))
            if chosen and not self._fits():
                raise OutboxFull(path=self._path)
        return len(chosen)

    def drop(self, messages: Sequence[int] | None) -> int:
        """Drop messages that were set aside, all of them for None; returns how many.

        Raises MessageUnknown, and then nothing was dropped.
        """
        with self._transaction():
            chosen = self._aside(messages)
        self.settle((message, Fate(Outcome.DROPPED, _BY_HAND)) for message in chosen)
        return len(chosen)

    def counts(self) -> Counts:
        """How many wait, how many were set aside, how many were lost on the way."""
        with self._told():
            return _counts(self._one("SELECT waiting, refused, dropped, expired FROM ledger") or (0, 0))

    def size(self) -> int:
        """Bytes of the messages that wait."""
        with self._told():
            (size,) = self._one("SELECT waiting_size FROM ledger") or (0,)
            return int(size)

    def version(self) -> tuple[int, int]:
        """Another value after anybody has changed anything: cheap to ask again and again."""
        with self._told():
            (others,) = self._one("PRAGMA data_version") or (0,)
            return int(others), self._changes

    # ── inside a transaction ──

    def _deliver(self, messages: list[int]) -> None:
        """What was dropped while it was on its way, and acknowledged, was not lost."""
        listed = json.dumps(messages)
        query = "DELETE FROM message WHERE id IN (SELECT value FROM json_each(?)) RETURNING id"
        gone = {row[0] for row in self._connection.execute(query, (listed,))}
        if len(gone) < len(messages):
            query = (
                "DELETE FROM outcome WHERE id IN (SELECT value FROM json_each(?)) AND kind = 'dropped'"
                " RETURNING id"
            )
            arrived = {row[0] for row in self._connection.execute(query, (listed,))}
            self._connection.execute(
                "UPDATE ledger SET dropped = dropped - ?1, outcomes = outcomes - ?1", (len(arrived),)
            )
            gone |= arrived
        self._news += [(each, Fate(Outcome.DELIVERED)) for each in messages if each in gone]

    def _end(self, message: int, fate: Fate) -> None:
        run = self._connection.execute
        if fate.outcome is Outcome.QUARANTINED:
            changed = run(
                "UPDATE message SET refused = ?, strikes = NULL WHERE id = ?", (fate.reason, message)
            )
        else:
            changed = run("DELETE FROM message WHERE id = ?", (message,))
        if not changed.rowcount:
            return
        if fate.outcome is not Outcome.QUARANTINED:
            run("INSERT INTO outcome VALUES (?, ?, ?)", (message, fate.outcome.value, fate.reason))
            self._forget()
        self._news.append((message, fate))

    def _make_room(self, fresh: list[int], wall: float) -> None:
        for message, _ in self._rows("SELECT id, 0 FROM message WHERE expires_at <= ?", wall):
            self._end(message, Fate(Outcome.EXPIRED))
        if self._fits():
            return
        if self._limits.overflow is Overflow.REFUSE:
            raise OutboxFull(path=self._path)
        first, direction, reason = 0, "", _ROOM
        if self._limits.overflow is Overflow.DROP_NEWEST:
            first, direction, reason = fresh[0], "DESC", _NO_ROOM
        query = f"SELECT id, size FROM message WHERE refused IS NULL AND id >= ? ORDER BY id {direction}"  # noqa: S608 - ours
        waiting, size = self._one("SELECT waiting, waiting_size FROM ledger") or (0, 0)
        self._drop_until(self._limits.fits, (waiting, size), self._rows(query, first), reason)

    def _trim_aside(self) -> None:
        query = "SELECT id, size FROM message WHERE refused IS NOT NULL ORDER BY id"
        held = self._one("SELECT refused, refused_size FROM ledger") or (0, 0)
        self._drop_until(self._limits.fits_aside, (held[0], held[1]), self._rows(query), _NO_ROOM_ASIDE)

    def _drop_until(
        self,
        fits: Callable[[int, int], bool],
        held: tuple[int, int],
        rows: Iterator[tuple[int, int]],
        reason: str,
    ) -> None:
        count, size = held
        chosen = []
        while not fits(count, size) and (row := next(rows, None)) is not None:
            chosen.append(row[0])
            count, size = count - 1, size - row[1]
        for message in chosen:
            self._end(message, Fate(Outcome.DROPPED, reason))

    def _fits(self) -> bool:
        waiting, size = self._one("SELECT waiting, waiting_size FROM ledger") or (0, 0)
        return self._limits.fits(waiting, size)

    def _forget(self) -> None:
        """Keep the table of ends bounded; what is thrown out is known to be unknown."""
        (outcomes,) = self._one("SELECT outcomes FROM ledger") or (0,)
        if outcomes < REMEMBERED + _FORGOTTEN_AT_ONCE:
            return
        oldest = "SELECT id FROM outcome ORDER BY id LIMIT 1 OFFSET ?"
        (last,) = self._one(oldest, _FORGOTTEN_AT_ONCE - 1) or (0,)
        gone = self._connection.execute("DELETE FROM outcome WHERE id <= ?", (last,)).rowcount
        self._connection.execute(
            "UPDATE ledger SET outcomes = outcomes - ?, forgotten = max(forgotten, ?)", (gone, last)
        )

    def _aside(self, messages: Sequence[int] | None) -> list[int]:
        known = [row[0] for row in self._rows("SELECT id, 0 FROM message WHERE refused IS NOT NULL")]
        if messages is None:
            return known
        for message in messages:
            if message not in known:
                raise MessageUnknown(id=message)
        return list(dict.fromkeys(messages))

    # ── SQLite ──

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
        return row

    def _rows(self, query: str, *values: object) -> Iterator[tuple[int, int]]:
        yield from self._connection.execute(query, values)

    def _give_back(self) -> None:
        """Return free pages to the disk where they are many, or nothing waits."""
        with self._told():
            (free,) = self._one("PRAGMA freelist_count") or (0,)
            if free < _FEW_PAGES:
                return
            (pages,) = self._one("PRAGMA page_count") or (0,)
            (waiting,) = self._one("SELECT waiting FROM ledger") or (0,)
            if not waiting or free > pages // 2:
                # as a script: it makes a row without columns for each page, and execute() ends at the first
                self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything or nothing; observers are told once it is on disk."""
        self._news.clear()
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise
        self._changes += 1
        for message, fate in self._news if self._observers else ():
            for observer in self._observers:
                observer(message, fate)

    @contextmanager
    def _told(self) -> Iterator[None]:
        with told(self._path):
            yield


@contextmanager
def open_outbox(path: Path, limits: OutboxLimits | None = None) -> Iterator[Outbox]:
    """Open the outbox, making it 0600 if it is not there; raises OutboxUnusable or FileNotPrivate."""
    with open_file(path) as connection:
        yield Outbox(connection, path, limits or OutboxLimits())


# ── rows, which a damaged file may hold anything in: SQLite keeps to no type ──


def _message(row: tuple[Any, ...]) -> Message:
    number, topic, payload, qos, expires_at, strikes = row
    is_one = isinstance(topic, str) and isinstance(payload, bytes) and qos in (0, 1)
    is_one &= isinstance(strikes, int | None) and isinstance(expires_at, float | None)
    if not is_one or len(topic) > MAX_TOPIC or abs(expires_at or 0.0) == inf:
        raise _damaged("message", number)
    return Message(number, topic, payload, qos, expires_at, strikes)


def _fate(kind: object, reason: object) -> Fate:
    if kind not in list(Outcome) or not isinstance(reason, str | None):
        raise _damaged("outcome", kind)
    return Fate(Outcome(str(kind)), reason)


def _refused(row: tuple[Any, ...]) -> Refused:
    number, topic, at, reason, size = row
    try:
        return Refused(number, str(topic), datetime.fromisoformat(at), str(reason), size)
    except (TypeError, ValueError):
        raise _damaged("message", number) from None


def _counts(row: tuple[Any, ...]) -> Counts:
    if not all(isinstance(count, int) for count in row):
        raise _damaged("ledger", row)
    return Counts(*row)


def _damaged(what: str, which: object) -> sqlite3.Error:
    return sqlite3.DatabaseError(f"it is damaged: {what} {ascii(which)[:40]} is none")
