"""One conversation with an agent, for many tasks at once: each order has a reference, and gets its answer."""

import asyncio
import itertools
import json
from typing import Any

from keyborn.device.agent.client import PATIENCE, judged, refusal
from keyborn.device.agent.protocol import encode
from keyborn.device.api.door import Streams
from keyborn.device.home import Home
from keyborn.domain.errors import AgentGone, DeviceError


class Conversation:
    """Made where an event loop runs; ``close`` it there."""

    def __init__(self, home: Home, streams: Streams) -> None:
        self._home = home
        self._reader, self._writer = streams
        self._answers: dict[object, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._last_word: DeviceError | None = None
        self._task = asyncio.create_task(self._listen())

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return not self._task.done()

    async def ask(self, op: str, *, wait: float = 0.0, **members: object) -> dict[str, Any]:
        """Send one order that may take ``wait`` seconds, and return its answer.

        Canceled, the order stands and its answer is dropped. Raises AgentRefused and AgentGone.
        """
        if not self.alive:
            raise AgentGone(path=self._home.path)
        ref, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        told = {name: value for name, value in members.items() if value is not None}
        try:
            async with asyncio.timeout(wait + PATIENCE):
                self._writer.write(encode({"op": op, **({"wait": wait} if wait else {}), **told}, ref))
                await self._writer.drain()
                return judged(await answer)
        except OSError:  # TimeoutError is one
            self._writer.transport.abort()
            raise AgentGone(path=self._home.path) from None
        finally:
            del self._answers[ref]

    async def close(self) -> None:
        """End it; whoever still waits gets AgentGone."""
        self._writer.transport.abort()
        await asyncio.wait([self._task])

    async def _listen(self) -> None:
        try:
            while (told := await line_of(self._reader)) is not None:
                self._hear(told)
        finally:
            self._writer.transport.abort()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(self._last_word or AgentGone(path=self._home.path))

    def _hear(self, told: dict[str, Any]) -> None:
        ref = told.get("ref")
        answer = self._answers.get(ref) if isinstance(ref, int) else None
        if answer is not None and not answer.done():
            answer.set_result(told)
        elif ref is None and "error" in told:
            self._last_word = refusal(told["error"])


async def line_of(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next line of an agent, or None once it has ended, or says what is no line."""
    try:
        told = json.loads(await reader.readuntil(b"\n"))
    except (OSError, ValueError, EOFError, asyncio.LimitOverrunError):
        return None
    return told if isinstance(told, dict) else None
