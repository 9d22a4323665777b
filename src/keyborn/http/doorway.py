"""Who is let in over TLS: handshakes in turn, and none for who says nothing.

A handshake costs half a millisecond that no other request gets. Two thousand devices that come at once would
hold up every answer for a second; so only a few begin at a time, each once its first record is there, and
hardly any while those that are in stand in line for their answers: a handshake is lost on who gives up or is
told to come again. Whoever says nothing, or half a record, waits in a table, where it costs a descriptor and
no TLS, and must leave first when there is no room.

Beyond so many that wait nobody is accepted. The kernel has a short queue, beyond which it forgets who asks:
TCP asks again after a second, at hardly any cost for either side, while a connection that is accepted, held
and closed costs both a fifth of what an enrolment costs.

The first come is the first served, unless it has waited for so long that it may be about to give up. Then the
newest is: serving the oldest would make all others too late, too.
"""

import asyncio
import contextlib
import logging
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial

from keyborn.http.protocol import HttpLimits

BACKLOG = 512
"""Connections in the kernel's queue: a second's, for they grow old there unseen, and a device whose first
packets were forgotten has little of its time left. It cuts this at net.core.somaxconn."""
AT_ONCE = 32
"""Handshakes under way before the next one begins."""
PACE = 0.02
"""Seconds after which a handshake counts no more: its costly part is over, and its peer may be far away."""
UNFINISHED = 256
"""Handshakes that have begun, whose peers have yet to answer, before others begin at a crawl."""
_CRAWL = 0.01
"""Seconds between two handshakes, then."""
_BURST = 64
"""Connections accepted before others get the processor."""
_RECORD_HEAD, _HANDSHAKE = 5, 22
"""Bytes of a record's head, and its first byte where it holds a handshake (RFC 8446, 5.1)."""
_LONGEST_HELLO = 4096
"""Bytes of it that are waited for."""
_RELIEF = 0.1
"""Seconds to wait where there are no descriptors left."""
_TELL_AGAIN = 10.0
"""Seconds between two warnings that nobody can be accepted."""
_LEFT = getattr(select, "POLLRDHUP", select.POLLHUP) | select.POLLHUP | select.POLLERR
_log = logging.getLogger("keyborn.http")


async def bound(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for every address of ``host``, one port for all. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            wanted = (address[0], made[0].getsockname()[1] if made else port, *address[2:])
            sock = socket.create_server(wanted, family=family, backlog=BACKLOG)
            sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
            made.append(sock)
    except OSError:
        for sock in made:
            sock.close()
        raise
    return made


class Doorway:
    """Accepts on one listening socket and begins TLS, in turn."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        limits: HttpLimits,
        protocol: Callable[[], asyncio.Protocol],
        *,
        shared: bool = False,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """``shared``: other processes accept there, too, and get their part of who comes.

        ``crowded``: whether those that are in stand in line.
        """
        self._listener = listener
        self._context = context
        self._limits = limits
        self._protocol = protocol
        self._shared = shared
        self._crowded = crowded
        self._loop = asyncio.get_running_loop()
        self._silent: dict[socket.socket, float] = {}
        """Who has not said anything yet, and until when it may; the oldest first."""
        self.waiting: deque[tuple[socket.socket, float]] = deque()
        """Whose first record is there, and until when they may wait; the newest last."""
        self._needed: dict[socket.socket, int] = {}
        """Of the silent: how many bytes are waited for, if there is a beginning."""
        self._room: asyncio.Future[None] | None = None
        """Done when somebody can be accepted again; None while that is so."""
        self.handshakes = 0
        """How many have begun."""
        self._told = float("-inf")
        self._under_way = 0
        self._pause: asyncio.TimerHandle | None = None
        """Set while nobody is let in."""
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = self._loop.create_task(self._accept())

    def sweep(self, now: float) -> None:
        """Close who has been silent, or has waited, for too long; ``now`` by the loop's clock."""
        while self._silent and next(iter(self._silent.values())) <= now:
            self._drop_oldest()
        here = [each for each in self.waiting if each[1] > now]
        if len(here) < len(self.waiting):
            for sock, _ in set(self.waiting).difference(here):
                sock.close()
            self.waiting = deque(here)
            self.next_one()

    def close(self) -> None:
        """Accept nobody any more, and drop whoever is not through yet."""
        if self._listener.fileno() < 0:
            return
        self._accepting.cancel()
        self._loop.remove_reader(self._listener)  # now: later the number may be another socket's
        self._listener.close()
        while self._silent:
            self._drop_oldest()
        while self.waiting:
            self.waiting.popleft()[0].close()
        if self._pause is not None:
            self._pause.cancel()
        for handshake in self._handshakes:
            handshake.cancel()

    async def _accept(self) -> None:
        since_others = 0
        while True:
            await self._has_room()
            since_others += 1
            if since_others >= self._burst():
                since_others = 0
                await asyncio.sleep(0)
            try:
                sock, _ = await self._loop.sock_accept(self._listener)
            except ConnectionError:
                continue
            except OSError as trouble:
                self._tell(trouble)
                self._drop_oldest()
                await asyncio.sleep(_RELIEF)
                continue
            self._arrived(sock)

    async def _has_room(self) -> None:
        while len(self.waiting) >= self._limits.arrivals:
            self._room = self._loop.create_future()
            await self._room

    def _burst(self) -> int:
        """How many in a row: one, so that others get theirs, until there is enough to do for everybody.

        Whoever is left in the kernel's queue then would grow old there unseen.
        """
        return 1 if self._shared and not self.waiting else _BURST

    def _tell(self, trouble: OSError) -> None:
        """Once in ten seconds: it may fail ten times a second for hours."""
        now = self._loop.time()
        if now - self._told > _TELL_AGAIN:
            self._told = now
            _log.warning("no connection can be accepted: %s", trouble.strerror)

    def _arrived(self, sock: socket.socket) -> None:
        # An answer behind a session ticket would wait for its acknowledgement, 40 ms.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self._silent) >= self._limits.connections:
            self._drop_oldest()
        self._silent[sock] = self._loop.time() + self._limits.handshake
        if not self._spoken(sock):
            self._loop.add_reader(sock, self._spoken, sock)

    def _drop_oldest(self) -> None:
        """Whoever comes in earnest speaks at once."""
        if self._silent:
            sock = next(iter(self._silent))
            self._forget(sock)
            sock.close()

    def _forget(self, sock: socket.socket) -> float:
        self._loop.remove_reader(sock)
        self._needed.pop(sock, None)
        return self._silent.pop(sock)

    def _spoken(self, sock: socket.socket) -> bool:
        """There are bytes, or the end of it; whether that is all that was to be waited for."""
        try:
            said = sock.recv(_RECORD_HEAD, socket.MSG_PEEK)
            if said and not self._is_whole(sock, said):
                return False
        except BlockingIOError:
            return False
        except OSError:
            said = b""
        until = self._forget(sock)
        if said:
            self.waiting.append((sock, until))
            self.next_one()
        else:
            sock.close()
        return True

    def _is_whole(self, sock: socket.socket, said: bytes) -> bool:
        """Whether the first record is there, or what is there is none; else the kernel tells when it is.

        Raises OSError.
        """
        if said[0] != _HANDSHAKE:
            return True
        needed = _RECORD_HEAD
        if len(said) == _RECORD_HEAD:
            needed += min(int.from_bytes(said[3:]), _LONGEST_HELLO)
            said = sock.recv(needed, socket.MSG_PEEK)
        before = self._needed.get(sock, 0)
        if len(said) < needed and before != needed:  # woken in vain, there will be no more
            self._needed[sock] = needed
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, needed)
            return False
        if before:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        return True

    def next_one(self) -> None:
        """Begin as many handshakes as may be under way, and hardly any while others are waited for."""
        while self.waiting and self._under_way < AT_ONCE and self._pause is None:
            if len(self._handshakes) >= UNFINISHED or self._crowded():
                self._pause = self._loop.call_later(_CRAWL, self._one_more)
            else:
                self._begin(*self._taken())
        if self._room is not None and len(self.waiting) < self._limits.arrivals:
            room, self._room = self._room, None
            if not room.done():
                room.set_result(None)

    def _taken(self) -> tuple[socket.socket, float]:
        """Who is the next: the first come, or, once that one has waited for long, the newest."""
        hurry = self.waiting[0][1] - self._loop.time() < self._limits.handshake / 2
        return self.waiting.pop() if hurry else self.waiting.popleft()

    def _one_more(self) -> None:
        """Whoever never finishes, or stands in line, locks nobody out."""
        self._pause = None
        if self.waiting and self._under_way < AT_ONCE:
            self._begin(*self._taken())
        self.next_one()

    def _begin(self, sock: socket.socket, until: float) -> None:
        """Begin a handshake, unless its peer has left or it is late."""
        now = self._loop.time()
        if until <= now or _has_left(sock):
            sock.close()
            return
        self._under_way += 1
        self.handshakes += 1
        task = self._loop.create_task(self._handshake(sock, until - now))
        self._handshakes.add(task)
        _Turn(self._loop, self._turn_over, task)
        task.add_done_callback(partial(self._through, sock))

    def _through(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._handshakes.discard(task)
        if task.cancelled():  # before it began: nobody else has the socket
            sock.close()

    def _turn_over(self) -> None:
        self._under_way -= 1
        self.next_one()

    async def _handshake(self, sock: socket.socket, seconds: float) -> None:
        """Hand the connection to a protocol of its own; a failure is everyday."""
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._loop.connect_accepted_socket(
                self._protocol,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=self._limits.linger,
            )


class _Turn:
    """One place among the handshakes under way: free when it is done or has taken its time."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, over: Callable[[], None], task: asyncio.Task[None]
    ) -> None:
        self._over: Callable[[], None] | None = over
        self._timer = loop.call_later(PACE, self._end)
        task.add_done_callback(self._end)

    def _end(self, _task: object = None) -> None:
        self._timer.cancel()
        over, self._over = self._over, None
        if over is not None:
            over()


def _has_left(sock: socket.socket) -> bool:
    """Whether nobody waits for an answer there any more."""
    poll = select.poll()
    poll.register(sock, _LEFT)
    return bool(poll.poll(0))
