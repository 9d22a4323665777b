"""A table and the processes that work on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from keyborn.adapters.aws.table import DynamoRegistry
from support import ministack
from support.registry_cases import Desk


@dataclass(slots=True)
class Stage:
    """One empty table. Each process on it remembers only what it did itself."""

    table: str = field(default_factory=ministack.new_table)
    _numbers: "count[int]" = field(default_factory=lambda: count(1, 1000))

    @asynccontextmanager
    async def process(self, client: Any = ministack.dynamodb, **options: Any) -> AsyncIterator[Desk]:  # noqa: ANN401 - a client has no type; options of the registry
        """A registry and the short words over it; intents of two processes never have one id."""
        async with DynamoRegistry(client, self.table, **options) as registry:
            yield Desk(registry, numbers=count(next(self._numbers)))

    def items(self) -> list[dict[str, Any]]:
        """Everything in the table, as the API writes it."""
        scanned = ministack.dynamodb().scan(TableName=self.table, ConsistentRead=True)
        found: list[dict[str, Any]] = scanned["Items"]
        return found


def registry_of(desk: Desk) -> DynamoRegistry:
    """The desk's registry, with what only this kind can do."""
    assert isinstance(desk.registry, DynamoRegistry)
    return desk.registry
