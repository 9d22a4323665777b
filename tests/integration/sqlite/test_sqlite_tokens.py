"""Looking a token up: what is remembered, and that a withdrawal is never overlooked."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from keyborn.adapters.sql import SqliteRegistry, registry
from keyborn.domain.errors import CredentialRefused, RegistryUnavailable
from keyborn.domain.token import TokenId
from support.gate import Gate
from support.registry_cases import START, Desk, event


def forget(path: Path) -> None:
    """Empty the table behind the registry's back: what is still found was remembered."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM redemptions")
        connection.execute("DELETE FROM tokens")


async def test_a_token_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as held:
        token = await Desk(held).token("secret")
        assert await held.find(token.id) == token
        forget(path)
        assert await held.find(token.id) == token


async def test_a_token_that_was_not_there_is_looked_for_again(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as held:
        assert await held.find(TokenId("t0000000000000000")) is None
        token = await Desk(held).token("secret")
        assert await held.find(token.id) == token


async def test_a_withdrawal_is_seen_by_the_next_look(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as held:
        token = await Desk(held).token("secret")
        await held.find(token.id)
        withdrawn = await held.withdraw(token.id, event("token.withdraw"))
        assert withdrawn.withdrawn_at == START
        assert await held.find(token.id) == withdrawn


async def test_a_look_during_the_withdrawal_leaves_nothing_behind(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as held:
        token = await Desk(held).token("secret")
        await held.find(token.id)
        gate = Gate()
        blocked = await gate.closed_behind(held)
        withdrawing = asyncio.create_task(held.withdraw(token.id, event("token.withdraw")))
        await asyncio.sleep(0)
        assert await held.find(token.id) == token  # not committed yet: it is still good
        gate.open()
        withdrawn, _ = await asyncio.gather(withdrawing, blocked)
        assert await held.find(token.id) == withdrawn


async def test_a_withdrawal_that_nobody_waits_for_any_more_is_seen_too(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as held:
        token = await Desk(held).token("secret")
        gate = Gate()
        blocked = await gate.closed_behind(held)
        withdrawing = asyncio.create_task(held.withdraw(token.id, event("token.withdraw")))
        await asyncio.sleep(0)
        withdrawing.cancel()
        await asyncio.gather(withdrawing, return_exceptions=True)
        await held.find(token.id)
        gate.open()
        await blocked
        await held.append(event("after"))  # the writer is past the withdrawal
        found = await held.find(token.id)
        assert found is not None
        assert found.withdrawn_at == START


async def test_a_claim_believes_the_database_and_not_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as held:
        desk = Desk(held)
        token = await desk.token("secret")
        assert await held.find(token.id) == token
        forget(path)
        with pytest.raises(CredentialRefused):
            await desk.enroll(token, "lamp-1", "k1")


async def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_MOST_KNOWN_TOKENS", 3)
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as held:
        desk = Desk(held)
        tokens = [await desk.token(f"secret {number}") for number in range(5)]
        assert [await held.find(token.id) for token in tokens] == tokens
        forget(path)
        assert [await held.find(token.id) for token in tokens] == [None, None, None, *tokens[3:]]


async def test_a_closed_registry_remembers_nothing(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as held:
        token = await Desk(held).token("secret")
        await held.find(token.id)
    with pytest.raises(RegistryUnavailable):
        await held.find(token.id)
