"""The one writer: a thread that owns the writing connection and lets concurrent commands share a commit.

Commands queue up while a commit is being fsynced; the next transaction takes as many as wait, up to a limit.
Under load that is dozens of enrolments for each fsync, and alone a command waits for nobody.

A command that refuses has written nothing: decisions come before writes. One that breaks off half done, which
is rare, makes the writer take the whole batch back and run it again, each command in a savepoint.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from keyborn.adapters.sql.backfill import Backfill
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
_DECISIONS = 2
"""How often a command that meets a constraint may read and decide in a guarded run."""


@dataclass(slots=True)
class Job:
    """A queued command, the future that its caller awaits, and what became of it."""

    command: Command[Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: Exception | None = None

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


@dataclass(slots=True)
class _Queue:
    """Jobs that wait, and whether more may come; guarded by ``changed``."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    jobs: deque[Job] = field(default_factory=deque)
    open: bool = False


class Writer:
    """Runs commands one after the other, many to a transaction, and answers when they are on disk."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        waiting_limit: int = 4096,
        batch_limit: int = 128,
        backfill: Backfill | None = None,
    ) -> None:
        """``connect`` is called in the writer's thread, again after every failure.

        ``backfill`` folds the write-ahead log where the writer's connection does not do it itself.
        """
        self.counters = Counters()
        self._backfill = backfill
        self._connect = connect
        self._waiting_limit = waiting_limit
        self._batch_limit = batch_limit
        self._connection: sqlite3.Connection | None = None
        self._queue = _Queue()
        self._thread = threading.Thread(target=self._work, name="keyborn-registry-writer", daemon=True)

    def start(self) -> None:
        """Take commands from now on."""
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
        with queue.changed:
            if not queue.open or len(queue.jobs) >= self._waiting_limit:
                raise RegistryUnavailable
            queue.jobs.append(Job(command, future, loop))
            queue.changed.notify()
        return await future

    @property
    def waiting(self) -> int:
        """How many commands are queued."""
        return len(self._queue.jobs)

    async def close(self) -> None:
        """Take nothing more, finish what waits, close the connection. Repeating is harmless."""
        with self._queue.changed:
            self._queue.open = False
            self._queue.changed.notify()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    # ── in the writer's thread ────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        try:
            while batch := self._next_batch():
                self._commit_together(batch)
                _answer(batch)
                self._fold()
        finally:
            if self._backfill is not None:
                self._backfill.close(self._connection)
            self._forget_connection()

    def _fold(self) -> None:
        """Between two batches, when everybody has been answered."""
        if self._backfill is not None and self._connection is not None:
            self._backfill.after_batch(self._connection)

    def _next_batch(self) -> list[Job]:
        """Wait for work; an empty batch means that the writer was closed and everything is done."""
        queue = self._queue
        with queue.changed:
            while queue.open and not queue.jobs:
                queue.changed.wait()
            size = min(len(queue.jobs), self._batch_limit)
            return [queue.jobs.popleft() for _ in range(size)]

    def _commit_together(self, batch: list[Job]) -> None:
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


def _answer(batch: list[Job]) -> None:
    """Wake all callers of one event loop with one call into it."""
    for loop in {job.loop for job in batch}:
        jobs = [job for job in batch if job.loop is loop]
        with contextlib.suppress(RuntimeError):  # that loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, jobs)


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        job.settle()
