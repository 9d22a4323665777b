"""The way to the agent of a home: the one that runs there, or, where none does, one of our own."""

import asyncio

from keyborn.device.agent.guest import MAX_UNSENT
from keyborn.device.agent.place import dial
from keyborn.device.api.own import OwnAgent, WallClock
from keyborn.device.home import Home
from keyborn.device.identity import require_identity
from keyborn.device.outbox_settings import outbox_settings
from keyborn.domain.errors import AgentRunning, HomeBusy

PATIENCE = 0.5
"""Seconds to outlast a command that has the home, and an agent that just begins or ends."""
_GLANCE = 0.05
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Door:
    """For the tasks of one event loop; close it there."""

    def __init__(self, home: Home, rate: float | None) -> None:
        self.home = home
        self._rate = rate
        self._one = asyncio.Lock()
        self._own: OwnAgent | None = None
        self._closed = False

    @property
    def own(self) -> bool:
        """Whether the agent is our own."""
        return self._own is not None and self._own.alive

    async def streams(self) -> Streams:
        """A connection of its own to the agent.

        Raises HomeBusy where a command holds the home, NoIdentity, HomeUnusable, FileNotPrivate.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            if (found := await self._dialed()) is not None:
                return found
            try:
                await self._begin()
            except (HomeBusy, AgentRunning):
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(_GLANCE)

    async def close(self) -> None:
        """End our own agent, if there is one; where that is canceled, it ends by itself."""
        self._closed = True
        if self._own is not None:
            self._own.stop()
            await asyncio.to_thread(self._own.join)

    async def _dialed(self) -> Streams | None:
        if self._closed:
            raise RuntimeError("This device is closed.")
        while not self.home.missing():
            try:
                sock = dial(self.home)
            except BlockingIOError:
                await asyncio.sleep(_GLANCE)
                continue
            except OSError:  # not a folder, or not ours: ``_begin`` says so
                return None
            if sock is None:
                return None
            try:
                return await asyncio.open_unix_connection(sock=sock, limit=2 * MAX_UNSENT)
            except BaseException:  # canceled: nobody else closes it
                sock.close()
                raise
        return None

    async def _begin(self) -> None:
        """Start an agent; raises HomeBusy where the home is taken, one that just ends included."""
        async with self._one:
            if self.own:
                await self._known()
                return
            await asyncio.to_thread(self._check)
            if self._closed:
                raise RuntimeError("This device is closed.")
            settings = outbox_settings(self.home, {"rate": self._rate})
            self._own = own = OwnAgent(self.home, settings)
            own.start()
            try:
                await asyncio.to_thread(own.begun)
            except BaseException:
                own.stop()
                raise

    async def _known(self) -> None:
        """Another task has started it, or it just ends."""
        if not self._own_answers():
            await asyncio.sleep(_GLANCE)
            raise HomeBusy(path=self.home.path)

    def _own_answers(self) -> bool:
        try:
            sock = dial(self.home)
        except BlockingIOError:
            return True
        if sock is not None:
            sock.close()
        return sock is not None

    def _check(self) -> None:
        """What can be said before anything is started."""
        require_identity(self.home, WallClock().now())
        with self.home.session():
            return
