"""One program of those that have connected to the agent: what is on the way from it, and to it."""

import socket
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from keyborn.device.agent.protocol import MAX_LINE, Ref, encode

MAX_UNSENT = 1024 * 1024
"""Bytes that a program may leave unread, before it is sent away."""
_PIECE = 65536
_LINES_AT_ONCE = 32


class Guest:
    """A connection, and what the desk knows of it; lines in, lines out, both bounded."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self.socket = sock
        self._in = bytearray()
        self._out = bytearray()
        self.filters: dict[str, int] = {}
        """What it has asked for, each with the number of the wish."""
        self.asking: dict[str, Ref] = {}
        """Filters for which the broker has not answered yet, with the reference of the order."""
        self.turns = 0
        """Grows with each message that it got as one of several who share a filter."""
        self.ended = False
        """Whether it says nothing more."""
        self.leaving = False
        """Whether it is sent away once it has read why."""
        self.leave_by = inf
        """When it is sent away whether it has read that or not, on the monotonic clock."""

    @property
    def unsent(self) -> int:
        """Bytes that it has not read."""
        return len(self._out)

    @property
    def overlong(self) -> bool:
        """Whether what it has begun to say is too long for a line."""
        return len(self._in) > MAX_LINE and b"\n" not in self._in

    @property
    def waiting(self) -> bool:
        """Whether a whole line of it waits to be read."""
        return not self.leaving and b"\n" in self._in

    def read(self) -> None:
        """Take in what it sends now."""
        if len(self._in) > MAX_LINE:
            return
        try:
            data = self.socket.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._in += data
        self.ended = not data

    def lines(self) -> Iterator[bytes]:
        """The next few lines, without their ends; others have their turn then."""
        for _ in range(_LINES_AT_ONCE):
            end = self._in.find(b"\n")
            if end < 0 or self.leaving:
                return
            line = bytes(self._in[:end])
            del self._in[: end + 1]
            if line.strip():
                yield line

    def say(self, members: Mapping[str, Any], ref: Ref = None) -> bool:
        """Answer it; False where it has left too much unread."""
        return self.put(encode(members, ref))

    def put(self, line: bytes) -> bool:
        """Send a line; False where it has left too much unread, and then nothing was sent."""
        if self.leaving:
            return True
        if len(self._out) + len(line) > MAX_UNSENT:
            return False
        self._out += line
        self.flush()
        return True

    def dismiss(self, members: Mapping[str, Any], leave_by: float) -> None:
        """A last word; it may read what is left until ``leave_by``, then the connection ends."""
        self._out += encode(members)
        self.leaving = True
        self.leave_by = leave_by
        self.flush()

    def flush(self) -> None:
        """Send what it takes now."""
        try:
            while self._out:
                del self._out[: self.socket.send(memoryview(self._out)[:_PIECE])]
        except BlockingIOError:
            return
        except OSError:
            self._out.clear()
            self.ended = True
