"""What every system under test is, and what starting one takes."""

import contextlib
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.support.requests import Door

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 30.0
_BEAT = 0.02


@dataclass(frozen=True, slots=True)
class Target:
    """A running system."""

    pid: int
    host: str
    port: int
    door: Door


class System(ABC):
    """One system in one configuration, on a folder of its own."""

    kind: str
    """How ``--systems`` calls it."""
    label: str
    tls: bool
    program: str
    """What must be on PATH."""

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Target]:
        """Start it; on leaving, end it in the way its operator would."""
        with (folder / "log").open("ab") as log:
            process = self._start(folder, log)
            try:
                yield self._ready(folder, process)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(_PATIENCE)

    @abstractmethod
    def _start(self, folder: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]": ...

    @abstractmethod
    def _ready(self, folder: Path, process: "subprocess.Popen[bytes]") -> Target: ...

    @abstractmethod
    def stored(self, folder: Path) -> frozenset[str] | None:
        """Fingerprints of the certificates in its database; None where it has none."""


def spawn(words: Sequence[str], log: IO[bytes], folder: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start a program that logs there."""
    return subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def wait(process: "subprocess.Popen[bytes]", ready: Callable[[], bool], folder: Path) -> None:
    """Until it is ready; raises RuntimeError with the end of its log if that does not come."""
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it did not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(_BEAT)


def free_port() -> int:
    """Some programs want a number: one that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
