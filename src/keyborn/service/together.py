"""Two things at once, of which only one can fail."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def beside(main: Awaitable[T], other: Awaitable[object]) -> T:
    """Do both, wait for both, return what ``main`` returns or raise what it raises; ``other`` raises nothing.

    Who is told to stop waiting stops both.
    """
    outcome, _ = await asyncio.gather(main, other, return_exceptions=True)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
