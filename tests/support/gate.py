"""Holding the writer, so that a test decides which commands share a transaction."""

import asyncio
import threading

from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.sql.session import Session


class Gate:
    """A command that holds the writer until it is opened, so that others queue up behind it."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()

    def __call__(self, _session: Session) -> None:
        self._entered.set()
        self._open.wait(30)

    async def closed_behind(self, registry: SqliteRegistry) -> "asyncio.Task[None]":
        """Send it and wait until the writer stands in it."""
        task = asyncio.create_task(registry._writer.run(self))
        await asyncio.to_thread(self._entered.wait, 30)
        return task

    def open(self) -> None:
        """Let everybody through."""
        self._open.set()
