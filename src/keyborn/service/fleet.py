"""The read side: what the operator sees of the fleet, its certificates and the audit trail."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyborn.domain.audit import AuditRecord
from keyborn.domain.certificate import Certificate
from keyborn.domain.errors import NotFound
from keyborn.domain.names import ThingName
from keyborn.domain.search import Search
from keyborn.domain.thing import Thing
from keyborn.ports import AuditTrail, Fleet, Searches

EVERYTHING = Search()


@dataclass(frozen=True, slots=True)
class ThingReport:
    """A thing with every certificate of it that is kept."""

    thing: Thing
    certificates: Sequence[Certificate]


class FleetView:
    """Questions an operator asks."""

    def __init__(self, *, fleet: Fleet, trail: AuditTrail, searches: Searches) -> None:
        self._fleet = fleet
        self._trail = trail
        self._searches = searches

    async def page(
        self, search: Search = EVERYTHING, *, after: str | None = None, limit: int = 100
    ) -> Sequence[Thing]:
        """A page of the devices that ``search`` finds, by name."""
        start = ThingName(after) if after else None
        if search.is_open:
            return await self._fleet.things(after=start, limit=limit)
        return await self._searches.find_things(search, after=start, limit=limit)

    async def report(self, name: str) -> ThingReport:
        """One device or service; raises NotFound."""
        thing = await self._fleet.thing(ThingName(name))
        if thing is None:
            raise NotFound(what="thing", name=ascii(name[:64]))
        return ThingReport(thing, await self._fleet.certificates(thing.name))

    async def audit(self, *, after: int = 0, limit: int = 1000) -> Sequence[AuditRecord]:
        """A page of the audit trail."""
        return await self._trail.records(after=after, limit=limit)
