"""The other end of the agent's socket, for programs and the command line.

Small on purpose: it brings neither MQTT nor TLS with it.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keyborn.device.agent.place import dialed
from keyborn.device.home import Home
from keyborn.domain.errors import AgentGone, AgentRefused, DeviceError

PATIENCE = 10.0
"""Seconds for an answer, beside those that the order itself may wait."""
_PIECE = 65536
_SEEN_WITHIN = 5.0
_GLANCE = 0.05
_LONGEST = 2 * 1024 * 1024
"""Bytes of a line: an agent leaves half of that unread at most."""


class AgentClient:
    """One conversation with the agent of a home; for one thread."""

    def __init__(self, home: Home, sock: socket.socket) -> None:
        self._home = home
        self._socket = sock
        self._read = bytearray()

    def ask(self, op: str, *, patience: float = PATIENCE, **members: object) -> dict[str, Any]:
        """Send one order, and return the next line; raises AgentRefused and AgentGone."""
        self.send(op, **members)
        answer = self.line(patience)
        if answer is None:
            raise AgentGone(path=self._home.path)
        return answer

    def send(self, op: str, **members: object) -> None:
        """Send one order; what is None is left out. Raises AgentGone."""
        told = {name: value for name, value in members.items() if value is not None}
        try:
            self._socket.settimeout(PATIENCE)
            self._socket.sendall(json.dumps({"op": op, **told}).encode() + b"\n")
        except OSError:
            raise AgentGone(path=self._home.path) from None

    def line(self, seconds: float | None) -> dict[str, Any] | None:
        """The next line, or None if none came within ``seconds``; raises AgentRefused and AgentGone."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while (end := self._read.find(b"\n")) < 0:
            if not self._receive(deadline):
                return None
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return self._judged(line)

    def lines(self, seconds: float | None) -> Iterator[dict[str, Any]]:
        """Lines as they come, for ``seconds`` or without end; raises as ``line``."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            told = self.line(None if deadline is None else max(deadline - time.monotonic(), 0.0))
            if told is None:
                return
            yield told

    def _receive(self, deadline: float | None) -> bool:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        try:
            self._socket.settimeout(left)
            data = self._socket.recv(_PIECE)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        if not data or len(self._read) > _LONGEST:
            raise AgentGone(path=self._home.path)
        self._read += data
        return True

    def _judged(self, line: bytes) -> dict[str, Any]:
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise AgentGone(path=self._home.path)
        return judged(told)


def judged(told: dict[str, Any]) -> dict[str, Any]:
    """An answer that is no refusal; raises AgentRefused, which has the agent's own code."""
    if "error" in told:
        raise refusal(told["error"])
    return told


def refusal(wrong: object) -> AgentRefused:
    """The error that an agent told."""
    if not isinstance(wrong, Mapping):
        return AgentRefused(detail=str(wrong))
    return AgentRefused(detail=str(wrong.get("detail")), code=str(wrong.get("code")))


def rouse(home: Home) -> None:
    """Have an agent that waited for an identity see that there is one; without an agent, nothing.

    It would see it by itself within a minute. Ends once it has, or after a few seconds.
    """
    deadline = time.monotonic() + _SEEN_WITHIN
    with contextlib.suppress(DeviceError), agent_of(home) as agent:
        if agent is None:
            return
        agent.ask("look")
        while agent.ask("status")["status"]["thing"] is None and time.monotonic() < deadline:
            time.sleep(_GLANCE)


@contextmanager
def agent_of(home: Home) -> Iterator[AgentClient | None]:
    """A conversation with the agent that runs in a home, or None where none does."""
    if home.missing():
        yield None
        return
    with dialed(home) as sock:
        yield None if sock is None else AgentClient(home, sock)


def wake(home: Home) -> bool:
    """Tell the agent of a home, where one runs, that somebody else has changed the outbox; whether one does.

    It looks by itself only when it has something else to do, which may take most of a minute.
    """
    with contextlib.suppress(DeviceError), agent_of(home) as agent:
        if agent is not None:
            agent.ask("wake")
            return True
    return False
