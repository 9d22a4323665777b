"""A network between a device and its broker that fails as real ones do: resets, silence, half a close."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PIECE = 65536
_NO_GOODBYE = struct.pack("ii", 1, 0)
"""SO_LINGER, on and without time: closing is a reset."""


class _Link:
    """One connection through it, both of its ends."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far

    def reset(self) -> None:
        for end in (self.near, self.far):
            sock = end.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_GOODBYE)
            end.transport.abort()

    def half_close(self, *, near: bool) -> None:
        """One end hears that there is nothing more, and may go on talking."""
        with contextlib.suppress(OSError, RuntimeError):
            (self.near if near else self.far).write_eof()


class RoughNetwork:
    """A proxy on a port of its own, in a thread; the broker may come and go behind it."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.port = 0
        self.connections = 0
        """Those that reached the broker."""

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(20)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    # ── what goes wrong ──

    def cut(self) -> None:
        """Every connection is reset."""
        self._do(_Link.reset)

    def half_close(self, *, near: bool) -> None:
        """Every connection ends in one direction: towards the device (``near``), or towards the broker."""
        self._do(lambda link: link.half_close(near=near))

    def fall_silent(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        """It does again; what was sent meanwhile, too."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def _do(self, what: Callable[[_Link], None]) -> None:
        def do() -> None:
            for link in self._links:
                what(link)

        self._loop.call_soon_threadsafe(do)

    # ── in its thread ──

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._over, self._flowing = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        self._flowing.set()
        for link in self._links:
            link.reset()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    async def _carry(self, inward: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        try:
            outward, far = await asyncio.open_connection(*self._target)
        except OSError:
            near.transport.abort()
            return
        self.connections += 1
        link = _Link(near, far)
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(inward, far), self._pump(outward, near))
        finally:
            self._links.discard(link)
            link.reset()

    async def _pump(self, source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            while data := await source.read(_PIECE):
                await self._flowing.wait()
                drain.write(data)
                await drain.drain()
            drain.write_eof()


@contextmanager
def rough_network(target: tuple[str, int]) -> Iterator[RoughNetwork]:
    """Such a network, for the time of the block."""
    made = RoughNetwork(target)
    made.start()
    try:
        yield made
    finally:
        made.stop()
