"""API keys at rest: the same in every registry that has them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.sql import SqliteRegistry
from keyborn.domain.api_key import ApiKey, ApiKeyId, Role, api_key_id
from keyborn.domain.audit import AuditEvent, verify
from keyborn.domain.errors import NotFound, RegistryUnavailable
from keyborn.domain.token import digest
from keyborn.ports import MAX_PAGE

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
Kept = MemoryRegistry | SqliteRegistry


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    if request.param == "memory":
        yield MemoryRegistry()
        return
    async with SqliteRegistry(tmp_path / "registry.db") as opened:
        yield opened


def key_of(secret: bytes, role: Role = Role.VIEWER) -> ApiKey:
    return ApiKey(api_key_id(secret), digest(secret), "alice", role, NOW, NOW + timedelta(days=90))


def event(key: ApiKey, action: str = "api-key.create", at: datetime = NOW) -> AuditEvent:
    return AuditEvent(at, action, "done", key.id, "operator")


async def told(registry: Kept) -> list[str]:
    records = await registry.records()
    verify(records)
    return [record.event.action for record in records]


@pytest.mark.parametrize("role", Role)
async def test_what_is_kept_is_found_as_it_was(registry: Kept, role: Role) -> None:
    key = key_of(b"one", role)
    await registry.add_api_key(key, event(key))
    assert await registry.api_key(key.id) == key
    assert await told(registry) == ["api-key.create"]


async def test_who_is_not_there_is_none(registry: Kept) -> None:
    for name in ("", "a0123456789abcdef", "t0123456789abcdef", "a' OR 1=1 --"):
        assert await registry.api_key(ApiKeyId(name)) is None
        with pytest.raises(NotFound):
            await registry.withdraw_api_key(ApiKeyId(name), event(key_of(b"x")))
    assert await told(registry) == []


async def test_keeping_it_twice_changes_and_appends_nothing(registry: Kept) -> None:
    key = key_of(b"one")
    await registry.add_api_key(key, event(key))
    await registry.withdraw_api_key(key.id, event(key, "api-key.withdraw"))
    await registry.add_api_key(key, event(key))
    found = await registry.api_key(key.id)
    assert found is not None
    assert found.withdrawn_at == NOW
    assert await told(registry) == ["api-key.create", "api-key.withdraw"]


async def test_another_secret_under_a_known_id_is_not_kept(registry: Kept) -> None:
    key = key_of(b"one")
    await registry.add_api_key(key, event(key))
    with pytest.raises(RegistryUnavailable):
        await registry.add_api_key(replace(key, digest=digest(b"two"), role=Role.ADMIN), event(key))
    assert await registry.api_key(key.id) == key
    assert await told(registry) == ["api-key.create"]


async def test_a_withdrawal_keeps_its_first_time_and_is_told_once(registry: Kept) -> None:
    key = key_of(b"one")
    await registry.add_api_key(key, event(key))
    first = await registry.withdraw_api_key(key.id, event(key, "api-key.withdraw", NOW + timedelta(hours=1)))
    again = await registry.withdraw_api_key(key.id, event(key, "api-key.withdraw", NOW + timedelta(hours=2)))
    assert first == again == replace(key, withdrawn_at=NOW + timedelta(hours=1))
    assert await told(registry) == ["api-key.create", "api-key.withdraw"]


async def test_many_who_withdraw_at_once_are_told_once(registry: Kept) -> None:
    key = key_of(b"one")
    await registry.add_api_key(key, event(key))
    ends = [event(key, "api-key.withdraw", NOW + timedelta(seconds=n)) for n in range(20)]
    results = await asyncio.gather(*(registry.withdraw_api_key(key.id, each) for each in ends))
    assert len({result.withdrawn_at for result in results}) == 1
    assert (await told(registry)).count("api-key.withdraw") == 1


async def test_pages_are_by_id_and_bounded(registry: Kept) -> None:
    keys = sorted((key_of(bytes([n])) for n in range(7)), key=lambda one: one.id)
    for key in reversed(keys):
        await registry.add_api_key(key, event(key))
    assert list(await registry.api_keys()) == keys
    assert list(await registry.api_keys(limit=3)) == keys[:3]
    assert list(await registry.api_keys(after=keys[2].id, limit=3)) == keys[3:6]
    assert list(await registry.api_keys(after=keys[-1].id)) == []
    assert list(await registry.api_keys(limit=-1)) == []
    assert len(await registry.api_keys(limit=MAX_PAGE * 2)) == 7


async def test_keys_outlive_the_process(tmp_path: Path) -> None:
    key = key_of(b"one", Role.ADMIN)
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        await registry.add_api_key(key, event(key))
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        assert await registry.api_key(key.id) == key
