"""A door before the stand-in's HTTP API: HTTPS on localhost, as a custom domain of API Gateway is.

The stand-in speaks plain HTTP, and tells APIs apart by a host name that resolves nowhere. The front has a
root of its own, hands every request on under that name, and remembers nothing but the statuses it saw.
"""

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.pki import SERVER, Authority, Pki, new_pki

MOST = 1 << 20
"""Bytes of a request that are handed on."""
SECONDS = 30.0
"""How long one request may take."""
_OF_ONE_HOP = frozenset({"connection", "host", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(slots=True)
class Front:
    """The door's address and root, and where it leads."""

    port: int
    pki: Pki
    statuses: list[int] = field(default_factory=list)
    target: tuple[str, int, str] | None = None
    """Host, port and Host header; nothing until there is an API: then every request is answered with 503."""

    @property
    def url(self) -> str:
        """What enrolment codes name."""
        return f"https://localhost:{self.port}"

    @property
    def root(self) -> Authority:
        """What signs its certificate."""
        return self.pki.root

    def lead_to(self, port: int, api: str) -> None:
        """From now on requests go to an API of the stand-in whose gateway listens there."""
        self.target = ("127.0.0.1", port, f"{api}.execute-api.localhost:{port}")


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context = context
        self.front: Front

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        """A connection; its handshake is done by the thread that reads from it."""
        raw, address = super().get_request()
        raw.settimeout(SECONDS)
        return self.context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that went away, or did not trust us, is no matter of the door's."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing is written down."""

    def do_GET(self) -> None:
        self._hand_on()

    def do_POST(self) -> None:
        self._hand_on()

    def _hand_on(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        front = self.server.front
        if size > MOST or front.target is None:
            self._answer(503 if size <= MOST else 413, [], b"")
            return
        body = self.rfile.read(size)
        try:
            status, headers, answer = self._ask(front.target, body)
        except (OSError, http.client.HTTPException):
            status, headers, answer = 502, [], b""
        self._answer(status, headers, answer)

    def _ask(self, target: tuple[str, int, str], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        host, port, name = target
        with closing(http.client.HTTPConnection(host, port, timeout=SECONDS)) as onward:
            headers = {key: value for key, value in self.headers.items() if key.lower() not in _OF_ONE_HOP}
            onward.request(self.command, self.path, body, {**headers, "Host": name})
            with onward.getresponse() as answer:
                return answer.status, answer.getheaders(), answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.server.front.statuses.append(status)
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in _OF_ONE_HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def open_front() -> Iterator[Front]:
    """A door for as long as it is needed; ``Front.lead_to`` says where to."""
    pki = new_pki()
    with _Server(_context(pki)) as server:
        server.front = Front(server.server_address[1], pki)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="front")
        thread.start()
        try:
            yield server.front
        finally:
            server.shutdown()
            thread.join()


def _context(pki: Pki) -> ssl.SSLContext:
    leaf = pki.servers.leaf("localhost", usage=SERVER, between=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        context.load_cert_chain(*leaf.write(Path(folder), "front"))
    return context
