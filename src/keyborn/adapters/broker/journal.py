"""What outlives the broker: changes gather in memory, and a thread commits them, one batch after the other.

While a batch is being fsynced the next one gathers, so that under load one commit serves dozens of publishes,
and alone a publish waits for nobody. A change that nobody waits for (an acknowledgement) rides along with the
next batch, or is written after ``LAZY_SECONDS``.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from keyborn.adapters.broker.journal_file import JournalFile
from keyborn.adapters.broker.journal_rows import Changes, Kept
from keyborn.adapters.broker.refusals import LOG
from keyborn.domain.errors import BrokerUnwritable

LAZY_SECONDS = 1.0
"""How long a change that nobody waits for may gather, and the pause after a commit that failed."""

T = TypeVar("T")

Waiter = Callable[[bool], None]


class _Batch:
    """Changes that are committed together, and who waits for that."""

    __slots__ = ("changes", "urgent", "waiters")

    def __init__(self) -> None:
        self.changes = Changes()
        self.waiters: list[Waiter] = []
        self.urgent = False


class Journal:
    """One broker's file, while it runs. Everything but ``open`` and ``close`` belongs to one event loop.

    A commit that fails is told to those who waited for it; its changes stay, and are tried again until the
    file takes them.
    """

    def __init__(self, file: JournalFile) -> None:
        self.urgent = 0
        """Counts the changes that somebody may wait for."""
        self.failing = False
        """The latest commit failed."""
        self.commits = 0
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keyborn-broker-journal")
        self._gathering = _Batch()
        self._writing: _Batch | None = None
        self._soon = False
        self._planned: asyncio.Handle | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> "Journal":
        """Open the file, making it (0600) if it is missing; raises BrokerFileUnusable."""
        journal = cls(JournalFile(path))
        try:
            await journal._run(journal._file.open)
        except BaseException:
            journal._thread.shutdown(wait=False)
            raise
        return journal

    async def read(self) -> Kept:
        """What an earlier run has left; raises BrokerFileUnusable."""
        return await self._run(self._file.read)

    async def close(self) -> None:
        """Write what is left, and close the file. Repeating is harmless; what comes later is forgotten."""
        if self._closed:
            return
        try:
            await self.durable()
        except BrokerUnwritable:
            LOG.error("the broker's latest changes could not be written: %s", self._file.path)
        self._closed = True
        self._cancel()
        await self._run(self._file.close)
        self._thread.shutdown()

    @property
    def changes(self) -> Changes:
        """Where the next change goes; say ``touch`` after it."""
        return self._gathering.changes

    def touch(self, *, urgent: bool) -> None:
        """Something has changed; ``urgent`` where somebody may wait for it."""
        if urgent:
            self.urgent += 1
            self._gathering.urgent = True
        if not self._soon and self._writing is None:
            self._plan()

    def when_written(self, waiter: Waiter) -> None:
        """Call ``waiter`` once every change up to now has been committed (True), or could not be (False).

        Only right after an urgent change: it waits for the batch that gathers now.
        """
        self._gathering.waiters.append(waiter)

    async def durable(self) -> None:
        """Wait until every change up to now has been committed; raises BrokerUnwritable."""
        if self._closed:
            raise BrokerUnwritable
        batch: _Batch | None = self._gathering
        if self._gathering.changes:
            self.touch(urgent=True)
        else:
            batch = self._writing
        if batch is None:
            return
        written: asyncio.Future[bool] = self._loop.create_future()
        batch.waiters.append(lambda ok: None if written.done() else written.set_result(ok))
        if not await written:
            raise BrokerUnwritable

    # ── batches ───────────────────────────────────────────────────────────────────────────────────────

    def _plan(self) -> None:
        """Write at the end of this turn of the loop, or, where nobody waits or the disk refuses, later."""
        if self._closed:
            return
        if self._gathering.urgent and not self.failing:
            self._cancel()
            self._soon = True
            self._planned = self._loop.call_soon(self._start)
        elif self._planned is None:
            self._planned = self._loop.call_later(LAZY_SECONDS, self._start)

    def _cancel(self) -> None:
        if self._planned is not None:
            self._planned.cancel()
        self._planned, self._soon = None, False

    def _start(self) -> None:
        self._cancel()
        batch, self._gathering = self._gathering, _Batch()
        if not batch.changes:
            self._tell(batch, ok=True)  # what had changed was undone before anybody wrote it
            return
        self._writing = batch
        task = self._loop.run_in_executor(self._thread, self._file.write, batch.changes)
        task.add_done_callback(partial(self._written, batch))

    def _written(self, batch: _Batch, task: "asyncio.Future[None]") -> None:
        self._writing = None
        error = task.exception()
        if error is None:
            self.commits += 1
        else:
            self._gathering.changes.take_back(batch.changes)
        self._note(error)
        if self._gathering.changes or self._gathering.waiters:
            self._plan()
        self._tell(batch, ok=error is None)

    def _note(self, error: BaseException | None) -> None:
        """Say once that the file does not take changes, and once that it does again."""
        if error is not None and not self.failing:
            LOG.error("the broker cannot write %s: %s", self._file.path, error)
        elif error is None and self.failing:
            LOG.warning("the broker can write %s again", self._file.path)
        self.failing = error is not None

    def _tell(self, batch: _Batch, *, ok: bool) -> None:
        for waiter in batch.waiters:
            self._loop.call_soon(waiter, ok)

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._thread, work)
