"""Two things at once, of which only one can fail."""

import asyncio
from contextvars import ContextVar

import pytest

from keyborn.domain.errors import CredentialRefused, RegistryUnavailable
from keyborn.service.together import NOTHING, beside


async def test_both_are_waited_for_whatever_becomes_of_the_first() -> None:
    done: list[str] = []

    async def fails() -> None:
        raise CredentialRefused

    async def other() -> None:
        await asyncio.sleep(0.01)
        done.append("other")

    with pytest.raises(CredentialRefused):
        await beside(fails(), other())
    assert done == ["other"]


async def test_who_stops_waiting_stops_both() -> None:
    stopped: list[str] = []

    async def waits(name: str) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(name)
            raise

    task = asyncio.create_task(beside(waits("one"), waits("two")))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(stopped) == ["one", "two"]


async def test_what_the_first_sets_in_its_context_is_the_caller_s() -> None:
    mark = ContextVar("mark", default="unset")

    async def sets() -> str:
        await asyncio.sleep(0)
        mark.set("set")
        return "done"

    async def other() -> None:
        mark.set("elsewhere")

    assert await beside(sets(), other()) == "done"
    assert mark.get() == "set"


async def test_what_should_raise_nothing_and_does_is_nobody_s_trouble() -> None:
    async def fine() -> int:
        return 1

    async def wrong() -> None:
        raise RegistryUnavailable

    assert await beside(fine(), wrong()) == 1


async def test_where_nothing_is_beside_it_no_other_task_is_there() -> None:
    async def counts() -> int:
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    alone = len(asyncio.all_tasks())
    assert await beside(counts(), NOTHING) == alone
    await NOTHING
