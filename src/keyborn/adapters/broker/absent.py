"""The broker while it does not run: what it has left in its file can be purged all the same."""

import asyncio
import sqlite3
from collections.abc import Collection
from pathlib import Path

from keyborn.adapters.broker.journal_file import JournalFile
from keyborn.domain.errors import BrokerUnwritable
from keyborn.domain.names import ThingName


class AbsentBroker:
    """Implements the port Sessions over the file of a broker that is not running.

    The caller holds the data folder's lock. Without this, a thing that is suspended and activated again while
    nothing runs would get its old session and queue back.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def evict(self, name: ThingName, reason: str) -> int:  # noqa: ARG002 - the port's; nobody is told
        """Purge what the thing has left; nothing is open. Raises BrokerFileUnusable and BrokerUnwritable."""
        await asyncio.to_thread(self._forget, name)
        return 0

    async def review(self, names: Collection[ThingName] | None = None) -> None:
        """Nothing is open, and whatever waits is reviewed when it is read."""

    def _forget(self, name: ThingName) -> None:
        if not self._path.exists():
            return
        file = JournalFile(self._path)
        file.open()
        try:
            file.forget(name)
        except sqlite3.Error as error:
            raise BrokerUnwritable from error
        finally:
            file.close()
