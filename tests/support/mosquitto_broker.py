"""Debian's mosquitto with mutual TLS, as a broker that is not ours."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.pki import SERVER, shared_pki


@dataclass
class Mosquitto:
    """One mosquitto on one folder and port; ``start`` may be called again after ``stop`` or ``kill``.

    With ``denied`` everybody may use every topic but these; ``lasting``: at its end it writes all down.
    """

    folder: Path
    denied: tuple[str, ...] = ()
    lasting: bool = False
    more: tuple[str, ...] = ()
    """Lines of its settings beside these."""
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def mqtt(self) -> tuple[str, int]:
        """Host and port."""
        return "localhost", self.port

    def start(self) -> "Mosquitto":
        """Start, and wait until it answers."""
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = probe.getsockname()[1]
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
        assert program is not None
        self.process = subprocess.Popen(
            [program, "-c", self._settings()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not _answers(self.port):
            assert self.process.poll() is None, f"mosquitto ended with {self.process.returncode}"
            assert time.monotonic() < deadline
        return self

    def stop(self) -> None:
        """SIGTERM."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(10)

    def _settings(self) -> Path:
        folder, pki = self.folder, shared_pki()
        chain, key = pki.servers.leaf("broker", usage=SERVER, between=True).write(folder, "mosquitto")
        (folder / "ca.pem").write_text(pki.client_ca_pem)
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"cafile {folder}/ca.pem",
            f"certfile {chain}",
            f"keyfile {key}",
            "require_certificate true",
            "use_identity_as_username true",
            "allow_anonymous true",
            "user root",
            "max_queued_messages 0",
        ]
        if self.denied:
            rules = ["pattern readwrite #", *(f"pattern deny {topic}" for topic in self.denied)]
            (folder / "acl").write_text("\n".join(rules) + "\n")
            lines.append(f"acl_file {folder}/acl")
        if self.lasting:
            lines += ["persistence true", f"persistence_location {folder}/"]
        lines += self.more
        settings = folder / "mosquitto.conf"
        settings.write_text("\n".join(lines) + "\n")
        return settings


@contextlib.contextmanager
def mosquitto(folder: Path, *, denied: tuple[str, ...] = ()) -> Iterator[int]:
    """Start it on a free port, wait until it answers, and end it; yields the port."""
    broker = Mosquitto(folder, denied)
    try:
        yield broker.start().port
    finally:
        broker.stop()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        time.sleep(0.02)
        return False
    return True
