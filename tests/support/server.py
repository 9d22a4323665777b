"""A real ``keyborn serve`` process for tests: started on free ports, asked through its control socket."""

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keyborn.cli.console import ask

PATIENCE = 20.0
BEGINNING = 60.0
"""Seconds for processes to begin and to end, on a machine that has much else to do."""
MODULE = ("-m", "keyborn")


@dataclass
class Server:
    """One server process on one data folder; ``start`` may be called again after ``kill``."""

    data: Path
    log: Path
    words: Sequence[str] = ()
    module: Sequence[str] = MODULE
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside this process's own."""
    about: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    workers: int | None = 1
    """One crosses every line between processes, at half the start of two; None: as the service has it."""
    _context: ssl.SSLContext | None = None

    def start(self) -> "Server":
        """Start, and wait until the control socket answers."""
        addresses = [
            "--https",
            self.about.get("https", "127.0.0.1:0"),
            "--mqtt",
            self.about.get("mqtt", "127.0.0.1:0"),
        ]
        words = [
            sys.executable,
            *self.module,
            "serve",
            "--data",
            str(self.data),
            *addresses,
            "--verbose",
            *self.words,
        ]
        if self.workers is not None and "--workers" not in self.words:
            words += ["--workers", str(self.workers)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
            )
        deadline = time.monotonic() + BEGINNING
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        control = self.data / "control.sock"
        if not control.exists():
            return False
        with contextlib.suppress(Exception):
            self.about = ask(self.data, "GET", "/v1/about")
            return bool(self.about)
        return False

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(BEGINNING)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    def token(self, **wish: object) -> dict[str, Any]:
        """Make a token: ``thing=``, ``match=``, ``uses=``, ``ttl=``, ``replace=``."""
        made: dict[str, Any] = ask(self.data, "POST", "/v1/tokens", wish)
        return made

    def thing(self, name: str) -> dict[str, Any]:
        """The operator's view of a thing."""
        report: dict[str, Any] = ask(self.data, "GET", f"/v1/things/{name}")
        return report

    def active(self, name: str) -> list[dict[str, Any]]:
        """The thing's active certificates."""
        return [row for row in self.thing(name)["certificates"] if row["status"] == "active"]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of HTTPS."""
        parts = urlsplit(self.about["url"])
        return str(parts.hostname), int(parts.port or 443)

    @property
    def mqtt(self) -> tuple[str, int]:
        """Host and port of the broker."""
        host, _, port = self.about["mqtt"].rpartition(":")
        return host, int(port)

    def context(self) -> ssl.SSLContext:
        """A client context that trusts this server's root."""
        if self._context is None:
            rows = ask(self.data, "GET", "/v1/authorities")
            root = next(row["pem"] for row in rows if row["role"] == "root")
            self._context = ssl.create_default_context(cadata=root)
        return self._context

    def trust_anew(self) -> None:
        """After a change of the root."""
        self._context = None

    def post(self, path: str, body: object, secret: str | None = None) -> "Answer":
        """POST JSON on a connection of its own."""
        headers = {"Content-Type": "application/json"}
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, raw, headers)

    def enroll(self, name: str, csr: str, secret: str) -> "Answer":
        """POST /v1/enroll."""
        return self.post("/v1/enroll", {"thingName": name, "csr": csr}, secret)

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> "Answer":
        """One request on a connection of its own; raises OSError or HTTPException if there is no answer."""
        connection = http.client.HTTPSConnection(*self.address, timeout=PATIENCE, context=self.context())
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()


@dataclass(frozen=True)
class Answer:
    """Status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded


@contextlib.contextmanager
def running(folder: Path, *words: str, module: Sequence[str] = MODULE) -> Iterator[Server]:
    """A server for the duration of a test."""
    server = Server(folder / "server", folder / "server.log", words, module)
    try:
        yield server.start()
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()
