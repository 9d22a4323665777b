"""TLS before the stand-in's whole API, as AWS's own endpoints have it.

The stand-in holds callers to a bucket's policy, and that of the code's bucket denies what comes without TLS.
Signatures hold: the host name goes through as it came.
"""

import http.client
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.ministack import REGION, Ministack
from support.pki import SERVER, new_pki, pem

SECONDS = 30.0
_OF_ONE_HOP = frozenset({"connection", "expect", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(frozen=True, slots=True)
class Gate:
    """Where AWS is, with TLS, and what signed its certificate."""

    port: int
    roots: Path

    @property
    def url(self) -> str:
        """Its address; one with digits, so that buckets are named in the path."""
        return f"https://127.0.0.1:{self.port}"

    def settings(self, key: str, secret: str) -> Mapping[str, str]:
        """The standard settings by which AWS's tools find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CA_BUNDLE": str(self.roots),
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, target: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context = context
        self.target = target

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        """A connection; its handshake is done by the thread that reads from it."""
        raw, address = super().get_request()
        raw.settimeout(SECONDS)
        return self.context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that went away is no matter of the gate's."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SECONDS
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing is written down."""

    def _hand_on(self) -> None:
        body = self._body()
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _OF_ONE_HOP}
        headers["X-Forwarded-Proto"] = "https"
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=SECONDS)) as onward:
            onward.request(self.command, self.path, body, headers)
            with onward.getresponse() as answer:
                status, told, data = answer.status, answer.getheaders(), answer.read()
        self.send_response_only(status)
        for key, value in told:
            if key.lower() not in _OF_ONE_HOP or (self.command == "HEAD" and key.lower() == "content-length"):
                self.send_header(key, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = _hand_on

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


@contextmanager
def open_gate(aws: Ministack, folder: Path) -> Iterator[Gate]:
    """A gate before ``aws``; its root lies in ``folder``."""
    pki = new_pki()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.servers.leaf("localhost", usage=SERVER, between=True).write(folder, "gate"))
    roots = folder / "gate-roots.pem"
    roots.write_text(pem(pki.root.certificate))
    with _Server(context, aws.port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="gate")
        thread.start()
        try:
            yield Gate(server.server_address[1], roots)
        finally:
            server.shutdown()
            thread.join()
