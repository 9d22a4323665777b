"""The one call of AWS IoT that the stand-in lacks, DeleteConnection, answered as AWS documents it.

AWS IoT API Reference, DeleteConnection: ``DELETE /connections/{clientId}``; 200, or 404 where no such client
is connected. Every call is kept for the test to look at.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Closing:
    """One call, as it arrived."""

    client_id: str
    clean_session: bool
    prevent_will: bool
    signed_for: str
    """Service of the signature."""


@dataclass(slots=True)
class SessionPlane:
    """Who is connected, by client id, and what was closed."""

    url: str = ""
    open: set[str] = field(default_factory=set)
    calls: list[Closing] = field(default_factory=list)
    refusal: str | None = None
    """A code with which every call is refused."""


class _Server(ThreadingHTTPServer):
    plane: SessionPlane


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing is written down."""

    def do_DELETE(self) -> None:
        plane, parts = self.server.plane, urlsplit(self.path)
        asked = parse_qs(parts.query)
        client_id = unquote(parts.path.removeprefix("/connections/"))
        signature = self.headers.get("Authorization", "").partition("Credential=")[2].split("/")
        clean, silent = (asked.get(name) == ["true"] for name in ("cleanSession", "preventWillMessage"))
        plane.calls.append(Closing(client_id, clean, silent, signature[3] if len(signature) > 3 else ""))
        if plane.refusal is not None:
            self._answer(403, plane.refusal)
        elif client_id in plane.open:
            plane.open.remove(client_id)
            self._answer(200, None)
        else:
            self._answer(404, "ResourceNotFoundException")

    def _answer(self, status: int, code: str | None) -> None:
        body = json.dumps({} if code is None else {"message": "as the test wants it"}).encode()
        self.send_response_only(status)
        if code is not None:
            self.send_header("x-amzn-ErrorType", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def session_plane() -> Iterator[SessionPlane]:
    """One on loopback; its URL belongs into AWS_ENDPOINT_URL_IOT_DATA_PLANE."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.plane = SessionPlane(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="session-plane")
        thread.start()
        try:
            yield server.plane
        finally:
            server.shutdown()
            thread.join()
