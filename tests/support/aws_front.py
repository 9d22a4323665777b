"""TLS before the stand-in, which speaks plain HTTP: HTTPS on this machine, under a root of the tests' own.

One front is the door of a stack's HTTP API, as a custom domain of API Gateway is: the stand-in tells APIs
apart by a host name that resolves nowhere, and requests are handed on under that name. Another stands before
the services that an operator's commands call. Both remember nothing but the statuses they saw.
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

from support.pki import SERVER, Authority, Pki

MOST = 1 << 26
"""Bytes of a request that are handed on."""
SECONDS = 30.0
"""How long one request may take."""
_OF_ONE_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "host"})


@dataclass(slots=True)
class Front:
    """The door's address and root, and where it leads."""

    port: int
    pki: Pki
    statuses: list[int] = field(default_factory=list)
    target: tuple[int, str | None] | None = None
    """The stand-in's port, and the Host header if it is another than what the caller says; as long as there
    is none every request is answered with 503."""

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
        self.target = (port, f"{api}.execute-api.localhost:{port}")


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
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing is written down."""

    def _hand_on(self) -> None:
        front = self.server.front
        body = self._body()
        if body is None or front.target is None:
            self._answer(413 if body is None else 503, [], b"")
            return
        try:
            status, headers, answer = self._ask(*front.target, body)
        except (OSError, http.client.HTTPException):
            status, headers, answer = 502, [], b""
        self._answer(status, headers, answer)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of whatever method a request has
        """Every method is handed on."""
        if name.startswith("do_"):
            return self._hand_on
        raise AttributeError(name)

    def _body(self) -> bytes | None:
        """What was sent; None if that is too much."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            size = int(self.headers.get("Content-Length") or 0)
            return self.rfile.read(size) if size <= MOST else None
        body = b""
        while size := int(self.rfile.readline(20).split(b";")[0], 16):
            if len(body) + size > MOST:
                return None
            body += self.rfile.read(size)
            self.rfile.readline(3)
        while self.rfile.readline(1000).strip():
            pass
        return body

    def _ask(self, port: int, host: str | None, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as onward:
            headers = {key: value for key, value in self.headers.items() if key.lower() not in _OF_ONE_HOP}
            # The stand-in takes it from there whether a bucket's "only over TLS" is kept.
            headers |= {"Host": host or self.headers["Host"], "X-Forwarded-Proto": "https"}
            onward.request(self.command, self.path, body, headers)
            with onward.getresponse() as answer:
                return answer.status, answer.getheaders(), answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.server.front.statuses.append(status)
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in _OF_ONE_HOP or (self.command == "HEAD" and key.lower() == "content-length"):
                self.send_header(key, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def open_front(pki: Pki, port: int | None = None) -> Iterator[Front]:
    """A front for as long as it is needed.

    It leads to the services of the stand-in at ``port``; without one, ``Front.lead_to`` says where to.
    """
    with _Server(_context(pki)) as server:
        server.front = Front(server.server_address[1], pki, target=None if port is None else (port, None))
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
