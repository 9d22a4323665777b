"""Tokens that are good under a group's rule are made only where somebody could use them."""

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.errors import InvalidSetting, NotFound
from keyborn.domain.group import GroupDocument
from keyborn.domain.names import GroupName, NameScope
from keyborn.service.sealing import RandomSecrets
from keyborn.service.tokens import TokenOffice, TokenWish
from support.office import NOON, TurnedClock
from support.registry_cases import event

LINE = GroupName("line-7")


async def office(*methods: str) -> TokenOffice:
    registry = MemoryRegistry()
    if methods:
        listed = ", ".join(f'"{method}"' for method in methods)
        text = f'name = "{LINE}"\nthings = "sensor-*"\nmethods = [{listed}]\n'
        await registry.put_group(GroupDocument(LINE, text, NOON), event())
    return TokenOffice(
        tokens=registry,
        listing=registry,
        clock=TurnedClock(),
        secrets=RandomSecrets(SystemEntropy()),
        trust=lambda: ("https://localhost", b""),
        groups=registry,
    )


@pytest.mark.parametrize("methods", [("token",), ("ask", "registered + token")])
async def test_a_group_that_accepts_tokens_has_them(methods: tuple[str, ...]) -> None:
    fresh = await (await office(*methods)).create(TokenWish(NameScope("sensor-1"), group=LINE))
    assert fresh.token.group == LINE


async def test_where_none_is_accepted_none_is_made() -> None:
    made = await office("ask")
    with pytest.raises(InvalidSetting, match="does not accept tokens"):
        await made.create(TokenWish(NameScope("sensor-1"), group=LINE))
    assert await made.page() == []


async def test_a_group_that_is_not_there_has_none() -> None:
    with pytest.raises(NotFound, match="line-7"):
        await (await office()).create(TokenWish(NameScope("sensor-1"), group=LINE))
