"""Two things at once, of which only one can fail."""

import asyncio
from collections.abc import Awaitable, Generator
from typing import TypeVar

T = TypeVar("T")


class _Nothing:
    """Awaited, it returns at once."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


NOTHING: Awaitable[None] = _Nothing()
"""What is to be done beside something, where that is nothing."""


async def beside(main: Awaitable[T], other: Awaitable[object]) -> T:
    """Do both, wait for both, return what ``main`` returns or raise what it raises; ``other`` raises nothing.

    ``main`` runs in the caller's own task: context variables that it sets are the caller's. Who is told to
    stop waiting stops both. Beside NOTHING there is no second task: it would cost more than the rest of this.
    """
    if other is NOTHING:
        return await main
    meanwhile = asyncio.ensure_future(other)
    try:
        return await main
    except asyncio.CancelledError:
        meanwhile.cancel()
        raise
    finally:
        await asyncio.gather(meanwhile, return_exceptions=True)
