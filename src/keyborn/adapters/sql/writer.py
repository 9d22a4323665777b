"""The one writer: a thread that owns the writing connection and lets concurrent commands share a commit.

Commands queue up while a commit is being fsynced; the next transaction takes as many as wait, up to a limit.
Under load that is dozens of enrolments for each fsync, and alone a command waits for nobody. Claims of other
processes come straight to this thread (``Source``): the event loop has no part in them.

A command that refuses has written nothing: decisions come before writes. One that breaks off half done, which
is rare, makes the writer take the whole batch back and run it again, each command in a savepoint.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from keyborn.adapters.sql.backfill import Backfill
from keyborn.adapters.sql.bell import Bell
from keyborn.adapters.sql.session import Session
from keyborn.domain.errors import RegistryUnavailable

T = TypeVar("T")

_log = logging.getLogger("keyborn.registry")

Command = Callable[[Session], T]

_FAULTS_OF_A_COMMAND = (
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.NotSupportedError,
    sqlite3.ProgrammingError,
)
SOURCE_LIMIT = 16
"""Commands of the source in a transaction: few, so that their callers are at work while the next are done."""
_DECISIONS = 2
"""How often a command that meets a constraint may read and decide in a guarded run."""


@dataclass(eq=False, slots=True)
class Job:
    """A command, and what became of it."""

    command: Command[Any]
    result: Any = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)


@dataclass(eq=False, slots=True)
class Call(Job):
    """One from an event loop, where somebody awaits the future."""

    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop

    def settle(self) -> None:
        """Tell the caller, unless it has gone away. Runs in the caller's event loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


@dataclass(slots=True)
class Counters:
    """What the writer has done since it started; ``commands / commits`` is how well commits are shared."""

    commands: int = 0
    commits: int = 0
    failures: int = 0
    """Batches that could not be committed."""
    largest_batch: int = 0
    redone: int = 0
    """Batches that were run a second time, guarded, because a command broke off half done."""


class Source(Protocol):
    """Commands that come from elsewhere; all in the writer's thread. It never waits and never raises."""

    descriptor: int
    """Readable while there is something to take."""

    def take(self, most: int) -> Sequence[Job]:
        """Up to ``most`` of them."""
        ...

    def answer(self, jobs: Sequence[Job]) -> None:
        """Tell what became of those that were taken last."""
        ...

    def close(self) -> None:
        """There is no writer any more."""
        ...


@dataclass(slots=True)
class _Queue:
    """Calls that wait, and whether more may come; guarded by ``lock``."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    calls: deque[Call] = field(default_factory=deque)
    open: bool = False
    asleep: bool = False
    """Whether the writer has to be rung for."""


class Writer:
    """Runs commands one after the other, many to a transaction, and answers when they are on disk."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        waiting_limit: int = 4096,
        batch_limit: int = 128,
        source_limit: int = SOURCE_LIMIT,
        backfill: Backfill | None = None,
        source: Source | None = None,
    ) -> None:
        """``connect`` is called in the writer's thread, again after every failure.

        ``batch_limit`` calls and ``source_limit`` commands of ``source`` share a transaction. ``backfill``
        folds the write-ahead log where the writer's connection does not do it itself.
        """
        self.counters = Counters()
        self._backfill = backfill
        self._connect = connect
        self._waiting_limit = waiting_limit
        self._batch_limit = batch_limit
        self._source_limit = source_limit
        self._source = source
        self._bell: Bell | None = None
        self._connection: sqlite3.Connection | None = None
        self._queue = _Queue()
        self._thread = threading.Thread(target=self._work, name="keyborn-registry-writer", daemon=True)

    def start(self) -> None:
        """Take commands from now on."""
        self._bell = Bell() if self._source is None else Bell(self._source.descriptor)
        self._queue.open = True
        self._thread.start()

    async def run(self, command: Command[T]) -> T:
        """Queue a command; returns what it returned once its effect is durable.

        Raises what it raised (then it has no effect), or RegistryUnavailable: too many wait, the writer is
        closed, or its batch could not be committed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        queue = self._queue
        with queue.lock:
            if not queue.open or len(queue.calls) >= self._waiting_limit:
                raise RegistryUnavailable
            queue.calls.append(Call(command, future, loop))
            self._wake()
        return await future

    @property
    def waiting(self) -> int:
        """How many commands are queued."""
        return len(self._queue.calls)

    async def close(self) -> None:
        """Take nothing more, finish what waits, close the connection. Repeating is harmless."""
        with self._queue.lock:
            self._queue.open = False
            self._wake()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    def _wake(self) -> None:
        """Under the lock."""
        if self._queue.asleep and self._bell is not None:
            self._queue.asleep = False
            self._bell.ring()

    # ── in the writer's thread ────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        try:
            is_more = False
            while self._wait(is_more=is_more):
                calls, asked = self._next_calls(), self._ask_source()
                is_more = len(asked) == self._source_limit
                if calls or asked:
                    self._commit_together([*calls, *asked])
                    _answer(calls)
                    self._answer_source(asked)
                    self._fold()
        finally:
            self._end()

    def _end(self) -> None:
        if self._source is not None:
            self._source.close()
        if self._backfill is not None:
            self._backfill.close(self._connection)
        self._forget_connection()
        with self._queue.lock:
            self._queue.asleep = False
            if self._bell is not None:
                self._bell.close()

    def _ask_source(self) -> Sequence[Job]:
        return () if self._source is None else self._source.take(self._source_limit)

    def _answer_source(self, asked: Sequence[Job]) -> None:
        if asked and self._source is not None:
            self._source.answer(asked)

    def _fold(self) -> None:
        """Between two batches, when everybody has been answered."""
        if self._backfill is not None and self._connection is not None:
            self._backfill.after_batch(self._connection)

    def _wait(self, *, is_more: bool) -> bool:
        """Sleep until there may be work; False once the writer was closed and every call is done.

        ``is_more``: the source was not asked for everything that it had.
        """
        queue = self._queue
        with queue.lock:
            if queue.calls or not queue.open:
                return bool(queue.calls)
            if is_more:
                return True
            queue.asleep = True
        assert self._bell is not None
        self._bell.wait()
        with queue.lock:
            queue.asleep = False
        return True

    def _next_calls(self) -> list[Call]:
        queue = self._queue
        with queue.lock:
            size = min(len(queue.calls), self._batch_limit)
            return [queue.calls.popleft() for _ in range(size)]

    def _commit_together(self, batch: Sequence[Job]) -> None:
        """One transaction. If it fails, everybody in it hears that, and nothing of it stays."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            session = Session(self._connection).begin()
            try:
                for job in batch:
                    _perform(session, job)
            except _HalfDoneError:
                self.counters.redone += 1
                session.restart()
                for job in batch:
                    _perform_guarded(session, job)
            session.commit()
        except Exception as error:  # noqa: BLE001 - this thread must outlive whatever happens to one batch
            _log.error("the registry cannot write: %s", error)
            self.counters.failures += 1
            self._forget_connection()
            for job in batch:
                job.result, job.error = None, _unavailable(error)
            return
        self.counters.commits += 1
        self.counters.commands += len(batch)
        self.counters.largest_batch = max(self.counters.largest_batch, len(batch))

    def _forget_connection(self) -> None:
        """Close, which rolls back; after an I/O error only a new connection starts from what is on disk."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


class _HalfDoneError(Exception):
    """A command has written something and then broke off: there is no savepoint to go back to."""


def _perform(session: Session, job: Job) -> None:
    """Run one command. Raises _HalfDoneError where it left something, or a constraint objected."""
    before = session.changes
    try:
        job.result, job.error = job.command(session), None
    except sqlite3.IntegrityError as error:
        raise _HalfDoneError from error
    except Exception as error:
        if _concerns_all(error):
            raise
        if session.changes != before:
            raise _HalfDoneError from error
        job.error = error


def _perform_guarded(session: Session, job: Job) -> None:
    """Run one command in a savepoint: what it refuses or breaks does not hurt its neighbours."""
    session.begin_command()
    for _ in range(_DECISIONS):
        try:
            job.result, job.error = job.command(session), None
        except sqlite3.IntegrityError as error:
            job.error = _unavailable(error)
            session.undo_command()
            session.begin_command()
            continue  # a constraint knew better than what was read: read and decide again
        except Exception as error:
            if _concerns_all(error):
                raise
            job.error = error
            session.undo_command()
            return
        break
    session.keep_command()


def _concerns_all(error: Exception) -> bool:
    """Whether it is the disk, the file or the lock: then nobody in this transaction can go on."""
    return isinstance(error, sqlite3.Error) and not isinstance(error, _FAULTS_OF_A_COMMAND)


def _unavailable(cause: Exception) -> RegistryUnavailable:
    refusal = RegistryUnavailable()
    refusal.__cause__ = cause
    return refusal


def _answer(batch: list[Call]) -> None:
    """Wake all callers of one event loop with one call into it."""
    for loop in {job.loop for job in batch}:
        jobs = [job for job in batch if job.loop is loop]
        with contextlib.suppress(RuntimeError):  # that loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, jobs)


def _settle(jobs: list[Call]) -> None:
    for job in jobs:
        job.settle()
