"""Every registry keeps the same contract: add an adapter to ADAPTERS and it is held to all of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.adapters.memory import MemoryRegistry
from keyborn.ports import Registry
from support import ministack, plans
from support.grouping_cases import GROUPING, GroupingDesk, Two
from support.registry_cases import Desk

Opener = Callable[[Path], AbstractAsyncContextManager[Registry]]


@asynccontextmanager
async def _memory(_folder: Path) -> AsyncIterator[Registry]:
    yield MemoryRegistry()


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Registry]:
    async with plans.watched(folder / "registry.db") as (registry,):
        yield registry


@asynccontextmanager
async def _dynamodb(_folder: Path) -> AsyncIterator[Registry]:
    async with DynamoRegistry(ministack.dynamodb, ministack.new_table()) as registry:
        yield registry


ADAPTERS: dict[str, Opener] = {"memory": _memory, "sqlite": _sqlite, "dynamodb": _dynamodb}


@pytest.fixture(params=ADAPTERS)
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Registry]:
    """An empty registry of each kind."""
    async with ADAPTERS[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def desk(registry: Registry) -> Desk:
    """Short words over that registry."""
    return Desk(registry)


@pytest.fixture(params=GROUPING)
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    """Two registries that know groups over one empty store, of each kind; in memory it is one."""
    async with GROUPING[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def line(two: Two) -> GroupingDesk:
    """Short words over the first of them."""
    return GroupingDesk(two[0])
