"""The core's ends of the claims lines: read and answered in the registry's own thread, past the event loop.

Each worker has one beside its line, for enrolments come in crowds: two threads of one interpreter that hand
each claim to one another cost more than its rows do. Frames are those of ``line``. A worker that sends
anything but a claim, or does not read its answers, loses its line, and ends with that.
"""

import contextlib
import logging
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence

from keyborn.adapters.workers.calls import OF_CLAIMS
from keyborn.adapters.workers.forms import UnreadableError, write_refusal
from keyborn.adapters.workers.line import ANSWER, ASK, HEAD, REFUSAL, told
from keyborn.domain.enrollment import Granted
from keyborn.ports import Claim

MAX_CLAIM = 256 * 1024
"""Bytes of a frame: a request of 4 KiB, attributes, what was proved, and much room."""
MAX_UNREAD = 1024 * 1024
"""Bytes of answers that wait for a worker to read them: several hundred."""
_READ = 64 * 1024
(_CLAIM,) = OF_CLAIMS
_log = logging.getLogger("keyborn.workers")


class _OverError(Exception):
    """The other end has closed its line."""


class _End:
    """One line: what has been read and not taken, and what has not been sent yet."""

    __slots__ = ("at", "is_over", "read", "socket", "stuck", "unsent")

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.read = b""
        self.at = 0
        self.unsent: list[bytes] = []
        self.stuck = b""
        """What was to be sent before that, and waits for the other end."""
        self.is_over = False

    def receive(self) -> None:
        """Read what is there; raises _OverError or OSError."""
        with contextlib.suppress(BlockingIOError):
            data = self.socket.recv(_READ)
            if not data:
                raise _OverError
            self.read, self.at = self.read[self.at :] + data, 0

    def has_frame(self) -> bool:
        """Whether a whole one is there; raises UnreadableError for one that may not be."""
        there = len(self.read) - self.at
        if there < HEAD.size:
            return False
        size, _, _ = HEAD.unpack_from(self.read, self.at)
        if size > MAX_CLAIM:
            raise UnreadableError
        return there >= HEAD.size + int(size)

    def next_claim(self) -> Claim:
        """Take the frame that is there; raises UnreadableError if it is no claim."""
        size, kind, number = HEAD.unpack_from(self.read, self.at)
        begin = self.at + HEAD.size
        body, self.at = self.read[begin : begin + size], begin + size
        if kind != ASK or body[:1] != b"\0":
            raise UnreadableError
        (attempt,) = _CLAIM.takes.read(body[1:])
        if attempt.request is None:  # nothing would be signed, and nobody could ask for that later
            raise UnreadableError
        return Claim(attempt, (self, number))

    def flush(self) -> bool:
        """Send what can be sent; True if some waits. Raises OSError, or UnreadableError for a deaf worker."""
        data, sent = b"".join((self.stuck, *self.unsent)), 0
        self.unsent.clear()
        with contextlib.suppress(BlockingIOError):
            sent = self.socket.send(data)
        self.stuck = data[sent:]
        if len(self.stuck) > MAX_UNREAD:
            raise UnreadableError
        return bool(self.stuck)


class ClaimLines:
    """Implements ``ports.ClaimSource``. Lines are added from any thread."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self.descriptor = self._poll.fileno()
        self._ends: dict[int, _End] = {}
        self._full: deque[_End] = deque()
        """Those with a whole frame that nobody has taken, each once: they take turns."""
        self._changing = threading.Lock()
        self._closed = False

    def add(self, end: socket.socket) -> None:
        """Serve one more worker; the socket is ours from here on."""
        end.setblocking(False)  # noqa: FBT003 - as the library has it
        with self._changing:
            if self._closed:
                end.close()
                return
            self._ends[end.fileno()] = _End(end)
            self._poll.register(end.fileno(), select.EPOLLIN)

    def take(self, most: int) -> Sequence[Claim]:
        """See ``ClaimSource.take``: one of each line that has some, again and again."""
        if len(self._full) < most:
            self._look()
        claims: list[Claim] = []

        def _take(end: _End) -> None:
            claims.append(end.next_claim())
            if end.has_frame():
                self._full.append(end)

        while self._full and len(claims) < most:
            self._try(_take, self._full.popleft())
        return claims

    def answer(self, claims: Sequence[Claim]) -> None:
        """See ``ClaimSource.answer``: all that one worker gets, in one write."""
        ends: dict[_End, None] = {}
        for claim in claims:
            end, number = claim.origin
            kind, body = _written(claim)
            end.unsent += (HEAD.pack(len(body), kind, number), body)
            ends[end] = None
        for end in ends:
            self._try(self._send, end)

    def close(self) -> None:
        """See ``ClaimSource.close``."""
        with self._changing:
            self._closed = True
        for end in list(self._ends.values()):
            self._forget(end)
        self._poll.close()

    def _look(self) -> None:
        """Read what has come, and go on sending where somebody has read."""
        for descriptor, events in self._poll.poll(0):
            end = self._ends[descriptor]
            if events & select.EPOLLOUT:
                self._try(self._send, end)
            if events & ~select.EPOLLOUT:
                self._try(self._receive, end)

    def _receive(self, end: _End) -> None:
        """Read no more than is taken: what is left is for the kernel to keep, and for the worker to wait."""
        if not end.has_frame():
            end.receive()
            if end.has_frame():
                self._full.append(end)

    def _send(self, end: _End) -> None:
        was_stuck = bool(end.stuck)
        is_stuck = end.flush()
        if is_stuck != was_stuck:
            self._poll.modify(end.socket, select.EPOLLIN | (select.EPOLLOUT if is_stuck else 0))

    def _try(self, step: Callable[[_End], None], end: _End) -> None:
        """Go on with a line; whatever goes wrong with it, it is that line that ends."""
        if end.is_over:
            return
        try:
            step(end)
        except (_OverError, OSError):
            self._forget(end)
        except Exception as fault:  # noqa: BLE001 - the registry's thread must outlive whatever a worker sends
            _log.error("a claims line ends: %s", type(fault).__name__)
            self._forget(end)

    def _forget(self, end: _End) -> None:
        """Hang up: nothing more of it is taken, and its worker ends."""
        end.is_over = True
        self._ends.pop(end.socket.fileno())
        self._poll.unregister(end.socket)
        end.socket.close()


def _written(claim: Claim) -> tuple[int, bytes]:
    """Kind and body of the answer."""
    if isinstance(claim.outcome, Granted):
        return ANSWER, _CLAIM.gives.write(claim.outcome)
    return REFUSAL, write_refusal(told(_CLAIM, claim.error or TypeError("a claim that came to nothing")))
