"""What the agent's two threads share: news one way, wishes the other way, and a way to wake each other.

Nothing here is changed in place but the queue and the two sets; everything else is a value that is replaced
whole. A signal's handler may call ``call``: it takes no lock.
"""

import contextlib
import queue
import select
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from keyborn.device.messages import Fate
from keyborn.device.session import Received
from keyborn.domain.errors import KeybornError

NEWS = 1000
"""What may wait for the desk; then the session waits, and with it the broker."""
_PATIENCE = 1.0


class Call(Enum):
    """What the one with the session is called for."""

    STOP = "stop"
    LOOK = "look"
    RENEW = "renew"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message arrived."""

    received: Received


@dataclass(frozen=True, slots=True)
class Ended:
    """A message that somebody waits for has come to its end."""

    message: int
    fate: Fate


@dataclass(frozen=True, slots=True)
class Granted:
    """The broker sends what matches; what it has kept goes to those who asked from ``since`` on."""

    filter: str
    since: int


@dataclass(frozen=True, slots=True)
class Denied:
    """The broker does not."""

    filter: str
    wrong: KeybornError


News = Arrived | Ended | Granted | Denied


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the device stands, for people and programs; no secret is in it."""

    stage: str = "starting"
    """Of the journey, once the files were looked at."""
    connected: bool = False
    trouble: str | None = None
    """The word of the journey's table."""
    error: str | None = None
    """A sentence about it."""
    detail: str | None = None
    """What was said about it, by whom: the end of that sentence."""
    thing: str | None = None
    certificate_id: str | None = None
    renewed: int = 0
    """Renewals since the agent started."""
    unrenewed: int = 0
    """Those that came to nothing."""
    renewal_error: str | None = None
    """Why the last one did, in a sentence; None where it did not."""


class Bridge:
    """Close it when both threads have ended."""

    def __init__(self) -> None:
        self._news: queue.Queue[News] = queue.Queue(NEWS)
        self._line_in, self._line_out = _pair()
        self._desk_in, self._desk_out = _pair()
        self._calls: set[Call] = set()
        self.standing = Standing()
        self.wants: Mapping[str, int] = {}
        """Filters that programs have asked for; each with a number that grows when one more asks for it."""
        self.awaited: set[int] = set()
        """Messages whose end somebody waits for."""
        self.failed: BaseException | None = None
        """Why the desk ended, if it did by itself."""

    def close(self) -> None:
        """Close what wakes."""
        for end in (self._line_in, self._line_out, self._desk_in, self._desk_out):
            end.close()

    # ── for the one with the session ──

    def call(self, what: Call) -> None:
        """Have it stop what it does, for this."""
        self._calls.add(what)
        self.wake()

    @property
    def called(self) -> bool:
        """Whether there is such a call."""
        return bool(self._calls)

    @property
    def stopped(self) -> bool:
        """Whether it is called to stop."""
        return Call.STOP in self._calls

    def calls(self) -> frozenset[Call]:
        """The calls, once."""
        taken = frozenset(self._calls)
        self._calls -= taken
        return taken

    def wake(self) -> None:
        """Have it look whether there is anything to do."""
        _touch(self._line_out)

    def rest(self, seconds: float, descriptor: int = -1, *, writing: bool = False) -> bool:
        """Wait until the session's descriptor, or somebody, wants something; whether the descriptor does."""
        poll = select.poll()
        poll.register(self._line_in, select.POLLIN)
        if descriptor >= 0:
            poll.register(descriptor, select.POLLIN | (select.POLLOUT if writing else 0))
        ready = {number for number, _ in poll.poll(max(seconds, 0.0) * 1000)}
        if self._line_in.fileno() in ready:
            _empty(self._line_in)
        return descriptor in ready

    def tell(self, news: News) -> None:
        """Hand something to the desk; waits where that has too much to do, and gives up where it is gone."""
        while self.failed is None:
            try:
                self._news.put(news, timeout=_PATIENCE)
            except queue.Full:
                _touch(self._desk_out)
            else:
                _touch(self._desk_out)
                return

    # ── for the desk ──

    @property
    def bell(self) -> socket.socket:
        """Readable when there is news."""
        return self._desk_in

    def knock(self) -> None:
        """Wake the desk."""
        _touch(self._desk_out)

    def news(self) -> Iterator[News]:
        """The news, once."""
        _empty(self._desk_in)
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._news.get_nowait()


def _pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        end.settimeout(0)
    return pair


def _touch(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # full is as good, and closed is the end anyway
        end.send(b"\0")


def _empty(end: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while end.recv(4096):
            pass
