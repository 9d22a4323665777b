"""Where the agent's socket is: ``agent.sock`` in the home, 0600."""

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyborn.device.home import Home
from keyborn.domain.errors import AgentRunning

NAME = "agent.sock"
_PRIVATE = 0o177
_WAITING = 16


@contextmanager
def listening(home: Home) -> Iterator[socket.socket]:
    """A socket that listens, removed at the end; raises AgentRunning where another agent answers on it."""
    with dialed(home) as other:
        if other is not None:
            raise AgentRunning(path=home.path)
    with _socket() as sock, _short(home.path) as path:
        with contextlib.suppress(FileNotFoundError):
            (home.path / NAME).unlink()
        before = os.umask(_PRIVATE)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(_WAITING)
        try:
            yield sock
        finally:
            with contextlib.suppress(FileNotFoundError):
                (home.path / NAME).unlink()


@contextmanager
def dialed(home: Home) -> Iterator[socket.socket | None]:
    """A connection to the home's agent, or None where no agent answers."""
    with _socket() as sock:
        yield sock if _connect(sock, home.path) else None


def dial(home: Home) -> socket.socket | None:
    """A connection to the home's agent that never blocks, or None where no agent answers.

    Raises BlockingIOError where so many others knock that it has to be tried again.
    """
    sock = _socket()
    sock.settimeout(0)
    try:
        with _short(home.path) as path:
            sock.connect(path)
    except BlockingIOError:
        sock.close()
        raise
    except OSError:
        sock.close()
        return None
    return sock


def _connect(sock: socket.socket, folder: Path) -> bool:
    try:
        with _short(folder) as path:
            sock.connect(path)
    except OSError:
        return False
    return True


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """The path through a descriptor: AF_UNIX takes 107 bytes, homes can be deeper."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{NAME}"
    finally:
        os.close(handle)
