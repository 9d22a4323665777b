"""What a large fleet needs, as a part of the registry: find, count, forget."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from keyborn.adapters.sql import census, pruning, rows, searching
from keyborn.adapters.sql.reads import Reader
from keyborn.adapters.sql.writer import Writer
from keyborn.domain.audit import AuditEvent
from keyborn.domain.census import Census
from keyborn.domain.names import ThingName
from keyborn.domain.pruning import Pruned
from keyborn.domain.search import Search
from keyborn.domain.thing import Thing, ThingKind
from keyborn.ports import page_size


class ScaleTables:
    """Implements ``Searches``, ``Censuses`` and ``Pruning`` for a registry that has writer and readers."""

    _writer: Writer
    _pages: Reader

    async def find_things(
        self,
        search: Search,
        *,
        kind: ThingKind = ThingKind.DEVICE,
        after: ThingName | None = None,
        limit: int = 100,
    ) -> Sequence[Thing]:
        """See ``Searches.find_things``."""
        sql, values = searching.question(search, kind, after, page_size(limit))
        return await self._pages.page(rows.thing, sql, *values)

    async def census(self, at: datetime) -> Census:
        """See ``Censuses.census``."""
        return await asyncio.to_thread(self._pages.snapshot, lambda ask: census.take(ask, rows.to_ms(at)))

    async def due(self, *, before: datetime, after: str | None = None, limit: int = 200) -> Pruned:
        """See ``Pruning.due``."""
        return (await self._step(before, after, limit)).due

    async def prune(
        self, event: AuditEvent, *, before: datetime, after: str | None = None, limit: int = 200
    ) -> Pruned:
        """See ``Pruning.prune``."""
        step = await self._step(before, after, limit)
        if not step.due.total:
            return step.due
        return await self._writer.run(lambda session: pruning.remove(session, step, event))

    async def _step(self, before: datetime, after: str | None, limit: int) -> pruning.Step:
        most, moment = max(1, page_size(limit)), rows.to_ms(before)
        return await asyncio.to_thread(
            self._pages.snapshot, lambda ask: pruning.look(ask, moment, after, most)
        )
