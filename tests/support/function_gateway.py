"""An HTTP API before real processes of the enrolment function, which die where a test says.

Plain HTTP on loopback; ``support.aws_front`` puts TLS before it. A request whose instance dies is answered
as API Gateway answers one: 500, without a word of ours (its Developer Guide, "Troubleshooting HTTP API
Lambda integrations").
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.lambda_events import event

TESTS = Path(__file__).parents[1]
PAST_THE_LEASE = 20.0
"""Seconds; so far ahead is the clock of instances after one that died: nobody waits for its lease to end."""


Call = tuple[str, str, int]
"""Service, operation, and how many of that name the instance had made before."""


@dataclass(slots=True)
class Gateway:
    """The door, and whoever stands behind it."""

    process: "subprocess.Popen[str]"
    calls: list[Call] = field(default_factory=list)
    """All that the instance made since the last ``arm``."""
    deaths: list[int] = field(default_factory=list)
    """How instances ended that did not answer, since then (negative: by a signal)."""
    ahead: float = 0.0
    """Seconds by which a fresh instance's clock is ahead."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the template tells a fresh instance; and ``ROOTS``."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, death: tuple[str, str, int, str] | None = None) -> None:
        """A fresh instance from now on; it dies at this service, operation, turn and hook, once."""
        with self._lock:
            self.calls.clear()
            self.deaths.clear()
            self._order({"arm": death})

    def invoke(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """The handler's answer; None if the instance died."""
        with self._lock:
            said = self._order({"event": asked})
            if "died" in said:
                self.deaths.append(said["died"])
                self.ahead += PAST_THE_LEASE
                return None
            self.calls += [(service, operation, turn) for service, operation, turn in said["calls"]]
            answer: dict[str, Any] = said["answer"]
            return answer

    def _order(self, order: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        more = {"ahead": self.ahead, "environment": dict(self.environment)}
        self.process.stdin.write(json.dumps({**order, **more}) + "\n")
        self.process.stdin.flush()
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    gateway: Gateway


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30.0
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing is written down."""

    def do_GET(self) -> None:
        """As every method."""
        self._hand_on()

    def do_POST(self) -> None:
        """As every method."""
        self._hand_on()

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = event(self.command, self.path, body or None, headers=headers)
        answer = self.server.gateway.invoke(asked)
        if answer is None:
            answer = {
                "statusCode": 500,
                "headers": {"content-type": "application/json"},
                "body": '{"message":"Internal Server Error"}',
            }
        raw = answer["body"].encode()
        self.send_response(answer["statusCode"])
        for name, value in answer["headers"].items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)


@contextmanager
def open_gateway() -> Iterator[tuple[Gateway, int]]:
    """The gateway and its port."""
    words = [sys.executable, "-m", "support.function_instances"]
    own = {"PYTHONPATH": str(TESTS), "PATH": os.defpath}
    process = subprocess.Popen(words, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process, _Server(("127.0.0.1", 0), _Handler) as server:
        server.gateway = Gateway(process)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="gateway")
        thread.start()
        try:
            yield server.gateway, server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
