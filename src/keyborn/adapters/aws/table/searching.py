"""Searches on the table: names are in order there, and everything else is looked at while reading."""

from collections.abc import Iterator, Sequence

from keyborn.adapters.aws.table import items
from keyborn.adapters.aws.table.sagas import DynamoSagas
from keyborn.adapters.aws.table.table import Table
from keyborn.domain.errors import SearchTooWide
from keyborn.domain.names import ThingName
from keyborn.domain.search import Search
from keyborn.domain.thing import Thing, ThingKind
from keyborn.ports import page_size

LOOKED_AT = 20_000
"""Records that one page may cost: some 20 MB, and one read unit for each 4 KiB (DynamoDB, consistent)."""


class DynamoSearches(DynamoSagas):
    """Implements ``keyborn.ports.Searches``."""

    async def find_things(
        self,
        search: Search,
        *,
        kind: ThingKind = ThingKind.DEVICE,
        after: ThingName | None = None,
        limit: int = 100,
    ) -> Sequence[Thing]:
        """See ``Searches.find_things``; a prefix bounds what is read, and nothing else does."""
        return await self._ask(
            lambda: _page(_walk(self._table, kind, search, after), search, page_size(limit))
        )


def _walk(table: Table, kind: ThingKind, search: Search, after: ThingName | None) -> Iterator[Thing]:
    """Every thing with the prefix, in order."""
    for item in table.query(kind.value, after=search.begin(after), limit=LOOKED_AT + 1):
        thing = items.thing_of(item)
        if thing.name >= search.end:
            return
        yield thing


def _page(things: Iterator[Thing], search: Search, limit: int) -> list[Thing]:
    found: list[Thing] = []
    if not limit:
        return found
    for number, thing in enumerate(things, 1):
        if number > LOOKED_AT:
            raise SearchTooWide(looked_at=LOOKED_AT)
        if search.finds(thing):
            found.append(thing)
            if len(found) == limit:
                break
    return found
