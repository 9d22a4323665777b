"""Messages as they come: a conversation of its own, so that a slow reader holds up nobody else."""

import asyncio
import contextlib
from collections import deque
from math import inf
from typing import Any, Self

from keyborn.device.agent.client import PATIENCE, judged
from keyborn.device.agent.protocol import encode, received_of
from keyborn.device.api.conversation import line_of
from keyborn.device.api.door import Door, Streams
from keyborn.device.session import Received
from keyborn.domain.errors import AgentGone

_PAUSE = 0.2
"""Seconds between two looks for an agent that ends again and again."""


class Subscription:
    """An async iterator, for one task; ``async with`` closes it for certain.

    Where the broker does not agree, that raises AgentRefused with the code ``subscribe_denied``. An agent
    that ends is looked for again; what is published meanwhile may be missed.
    """

    def __init__(self, door: Door, filters: tuple[str, ...], seconds: float | None) -> None:
        self._door = door
        self._filters = filters
        self._loop = asyncio.get_running_loop()
        self._deadline = inf if seconds is None else self._loop.time() + seconds
        self._streams: Streams | None = None
        self._since = -inf
        self._asked: set[str] = set()
        """Filters that the broker has not agreed to yet."""
        self._inbox: deque[Received] = deque()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Wait up to ten seconds for the broker to agree; without a session it comes when there is one.

        Raises AgentRefused, HomeBusy, NoIdentity, HomeUnusable.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._stand()
        except TimeoutError:
            return self
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> Received:
        """The next message; raises as ``take``."""
        received = await self.take()
        if received is None:
            raise StopAsyncIteration
        return received

    def __del__(self) -> None:
        """An iterator that was left behind with ``break`` keeps no connection."""
        if self._streams is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the connection with it
                self._loop.call_soon_threadsafe(_abort, self._streams[1])

    async def take(self) -> Received | None:
        """The next message, or None after the end; raises as entering does."""
        try:
            async with asyncio.timeout_at(None if self._deadline == inf else self._deadline):
                while not self._inbox and not self._closed:
                    await self._move()
        except TimeoutError:
            self.close()
        return self._inbox.popleft() if self._inbox else None

    def close(self) -> None:
        """End it: no more messages come. What has come already can still be taken."""
        self._closed = True
        self._hang_up()

    async def _stand(self) -> None:
        """Until the broker sends what matches."""
        while not self._closed and (self._streams is None or self._asked):
            await self._move()

    async def _move(self) -> None:
        """Take in a line, or find an agent."""
        if self._streams is None:
            await self._open()
        elif not await self._hear():
            self._hang_up()
            if self._loop.time() < self._since + _PAUSE and not self._closed:
                await asyncio.sleep(_PAUSE)

    async def _open(self) -> None:
        """Ask an agent for all filters; what it answers is heard later."""
        streams = await self._door.streams()
        self._streams, self._since = streams, self._loop.time()
        self._asked = set(self._filters)
        orders = [encode({"op": "subscribe", "filter": each}) for each in self._filters]
        streams[1].writelines(orders)  # they are short: nobody has to wait for that

    async def _hear(self) -> bool:
        """Take in one line; False at the end. Raises AgentRefused, and ends, where the agent says no."""
        assert self._streams is not None
        told = await line_of(self._streams[0])
        if told is None:
            return False
        self._asked.discard(str(told.get("subscribed")))
        if "error" in told:
            self.close()
        if "message" in judged(told):
            self._inbox.append(self._received(told["message"]))
        return True

    def _received(self, told: Any) -> Received:  # noqa: ANN401 - JSON
        try:
            return received_of(told)
        except (KeyError, TypeError, ValueError):
            raise AgentGone(path=self._door.home.path) from None

    def _hang_up(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
