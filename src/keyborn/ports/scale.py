"""The sides of the registry that a large fleet needs: find, count, forget."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from keyborn.domain.audit import AuditEvent
from keyborn.domain.census import Census
from keyborn.domain.names import ThingName
from keyborn.domain.pruning import Pruned
from keyborn.domain.search import Search
from keyborn.domain.thing import Thing, ThingKind


class Searches(Protocol):
    """Capability: find things by what they are."""

    async def find_things(
        self,
        search: Search,
        *,
        kind: ThingKind = ThingKind.DEVICE,
        after: ThingName | None = None,
        limit: int = 100,
    ) -> Sequence[Thing]:
        """A page of those that ``search`` finds, by name, byte order.

        Raises SearchTooWide where nothing leads to them and too many others would have to be read.
        """
        ...


class Censuses(Protocol):
    """Capability: how many there are."""

    async def census(self, at: datetime) -> Census:
        """Count as of one moment; ``at`` is what days left are counted from."""
        ...


class Pruning(Protocol):
    """Capability: forget what has been of no use for long (``domain.pruning`` says what that is).

    Works through the registry in steps of bounded size, from the beginning (``after`` None) to where
    ``Pruned.after`` is None. What one step leaves out because it is in use, no later step removes.
    """

    async def due(self, *, before: datetime, after: str | None = None, limit: int = 200) -> Pruned:
        """What the next step would remove: of at most ``limit`` records that ended before ``before``."""
        ...

    async def prune(
        self, event: AuditEvent, *, before: datetime, after: str | None = None, limit: int = 200
    ) -> Pruned:
        """Remove it, and append ``event`` with the counts: one effect. Nothing to remove appends nothing."""
        ...
