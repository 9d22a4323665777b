"""mosquitto_pub and mosquitto_sub as a person would start them."""

import contextlib
import os
import pty
import subprocess
import threading
from collections.abc import Sequence
from typing import NamedTuple

from support.stage import Stage
from support.talker import Identity, until


class Said(NamedTuple):
    """Exit code, and everything that the program printed."""

    code: int
    text: str


def words(
    stage: Stage,
    program: str,
    version: str,
    identity: Identity,
    *more: str,
    client_id: str | None = None,
    port: int | None = None,
) -> list[str]:
    """The command line: QoS 1, debug output, and whatever else."""
    host, usual = stage.server.mqtt
    where = ["-h", host, "-p", str(port or usual), "-V", version, "-i", client_id or identity.name]
    files = ["--cafile", identity.roots, "--cert", identity.certificate, "--key", identity.key]
    return [program, *where, *map(str, files), "-q", "1", "-d", *more]


def run(command: Sequence[str]) -> Said:
    """Start the program and wait for its end."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False
    )
    return Said(done.returncode, done.stdout)


class Sub:
    """A mosquitto_sub that runs. It has a terminal: into a pipe or a file it would write only at its end."""

    def __init__(self, command: Sequence[str]) -> None:
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL)
        os.close(theirs)
        self._printed = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # a terminal's way to say that the other side is gone
            while data := os.read(self._terminal, 4096):
                self._printed += data

    @property
    def text(self) -> str:
        """What it has printed."""
        return self._printed.decode()

    def prints(self, text: str) -> None:
        """Wait until it has printed ``text``."""
        until(lambda: text in self.text, f"mosquitto_sub prints {text!r} ({self.text!r})")

    def ends(self) -> int:
        """Wait for its end; the exit code."""
        return self._process.wait(30)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        os.close(self._terminal)
