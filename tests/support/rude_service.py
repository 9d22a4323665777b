"""A registration authority on a real TLS socket that can be rude in every way a device must survive."""

import contextlib
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.domain.token import EnrollmentCode
from support.device_pki import Wanted, certify
from support.pki import SERVER, Leaf, Pki, pem, shared_pki

SECRET = bytes(range(32))
PROBLEM = "application/problem+json"
_connections = count(1)


@dataclass(frozen=True)
class Seen:
    """One request, as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Exchange:
    """What a reply may do with one request."""

    def __init__(self, handler: "Handler", seen: Seen) -> None:
        self.handler = handler
        self.seen = seen
        self.service = handler.server.service

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.handler.send_response(status)
        self.handler.send_header("Content-Length", headers.pop("content_length", str(len(body))))
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.write(body)
        self.handler.wfile.flush()

    def hang_up(self) -> None:
        """End the connection here and now."""
        self.handler.close_connection = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.handler.connection, socket.SHUT_RDWR)


Reply = Callable[[Exchange], None]


@dataclass
class RudeService:
    """The service; ``replies`` holds what happens next, per path, the last one for ever."""

    pki: Pki
    url: str
    seen: list[Seen] = field(default_factory=list)
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    wanted: Wanted = field(default_factory=Wanted)
    issued: dict[tuple[str, str], x509.Certificate] = field(default_factory=dict)
    faults: list[BaseException] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    def code(self, **changes: Any) -> EnrollmentCode:  # noqa: ANN401 - any field of the code
        """A code for this service; the root is pinned unless ``fingerprint`` says otherwise."""
        now = datetime.now(UTC).replace(microsecond=0)
        root = self.pki.root.certificate.public_bytes(Encoding.DER)
        made = EnrollmentCode(
            url=self.url,
            fingerprint=hashlib.sha256(root).digest(),
            secret=SECRET,
            issued_at=now - timedelta(minutes=10),
            expires_at=now + timedelta(hours=1),
        )
        return replace(made, **changes)

    def script(self, path: str, *replies: Reply) -> None:
        self.replies[path] = list(replies)

    def asked(self, path: str) -> list[Seen]:
        return [each for each in self.seen if each.path == path]

    def certificate(self, thing: str, csr_pem: str) -> x509.Certificate:
        """The same certificate for the same request, as PROTOCOL wants it."""
        request = x509.load_pem_x509_csr(csr_pem.encode())
        public = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        spki = hashlib.sha256(public).hexdigest()
        if (thing, spki) not in self.issued:
            wanted = replace(self.wanted, name=thing)
            self.issued[thing, spki] = certify(self.pki.devices, request.public_key(), wanted)
        return self.issued[thing, spki]

    def answer(self, thing: str, csr_pem: str) -> dict[str, Any]:
        leaf = self.certificate(thing, csr_pem)
        return {
            "thingName": thing,
            "certificateId": hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
            "certificatePem": pem(leaf),
            "chainPem": pem(self.pki.devices.certificate),
            "notAfter": f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
            "mqtt": {
                "endpoint": "localhost",
                "port": 8883,
                "alpn": None,
                "protocol": "mqtts",
                "clientId": thing,
                "topic": f"certtest/{thing}",
                "rootsPem": self.pki.root_pem,
            },
        }

    def handle(self, exchange: Exchange) -> None:
        queue = self.replies.get(exchange.seen.path, [])
        reply = queue[0] if len(queue) == 1 else queue.pop(0) if queue else polite
        reply(exchange)


def polite(exchange: Exchange) -> None:
    """What a good service answers."""
    service, seen = exchange.service, exchange.seen
    if seen.path.endswith("/v1/trust-bundle"):
        exchange.send(200, service.pki.root_pem.encode(), Content_Type="application/pem-certificate-chain")
    elif seen.path.endswith("/v1/enroll"):
        body = json.loads(seen.body)
        answer = service.answer(body["thingName"], body["csr"])
        exchange.send(201, json.dumps(answer).encode(), Content_Type="application/json")
    else:
        problem(404, "not_found", "no such route")(exchange)


def changed(**changes: Any) -> Reply:  # noqa: ANN401 - JSON
    """The good answer with members replaced; ``mqtt__port=0`` reaches inside."""

    def reply(exchange: Exchange) -> None:
        body = json.loads(exchange.seen.body)
        answer = exchange.service.answer(body["thingName"], body["csr"])
        for name, value in changes.items():
            outer, _, inner = name.partition("__")
            if inner:
                answer[outer][inner] = value
            else:
                answer[outer] = value
        exchange.send(201, json.dumps(answer).encode(), Content_Type="application/json")

    return reply


def problem(status: int, code: str, detail: str, **headers: str) -> Reply:
    body = json.dumps({"title": "x", "status": status, "code": code, "detail": detail}).encode()
    return lambda exchange: exchange.send(status, body, Content_Type=PROBLEM, **headers)


def plain(status: int, body: bytes = b"", **headers: str) -> Reply:
    return lambda exchange: exchange.send(status, body, **headers)


def lost(exchange: Exchange) -> None:
    """Do everything, then lose the answer."""
    body = json.loads(exchange.seen.body)
    exchange.service.answer(body["thingName"], body["csr"])
    exchange.hang_up()


def truncated(exchange: Exchange) -> None:
    """Half of the answer."""
    body = json.loads(exchange.seen.body)
    answer = json.dumps(exchange.service.answer(body["thingName"], body["csr"])).encode()
    exchange.send(201, answer[: len(answer) // 2], content_length=str(len(answer)))
    exchange.hang_up()


def endless(exchange: Exchange) -> None:
    """More bytes than anybody should read, without saying how many."""
    exchange.handler.send_response(200)
    exchange.handler.send_header("Connection", "close")
    exchange.handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(64):
            exchange.handler.wfile.write(b" " * 4096)
    exchange.hang_up()


def silent(exchange: Exchange) -> None:
    """Take the request and say nothing until the test ends."""
    exchange.service.release.wait(30)
    exchange.hang_up()


def dripping(exchange: Exchange) -> None:
    """A byte now and then, so that no single read ever times out."""
    exchange.handler.send_response(200)
    exchange.handler.send_header("Content-Length", "60000")
    exchange.handler.end_headers()
    with contextlib.suppress(OSError):
        while not exchange.service.release.wait(0.02):
            exchange.handler.wfile.write(b" ")
            exchange.handler.wfile.flush()
    exchange.hang_up()


class Handler(BaseHTTPRequestHandler):
    """Notes the request, then does what the script says."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def setup(self) -> None:
        """A connection begins. It gets a number: the id of an object is given again to a later one."""
        self.connection_number = next(_connections)
        super().setup()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        seen = Seen(self.command, self.path, dict(self.headers.items()), body, self.connection_number)
        self.server.service.seen.append(seen)
        self.server.service.handle(Exchange(self, seen))

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """TLS per connection, in the connection's own thread."""

    daemon_threads = False
    service: RudeService

    def __init__(self, context: ssl.SSLContext | None, address: str) -> None:
        super().__init__((address, 0), Handler)
        self._context = context

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's
        if self._context is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(10)
        with self._context.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - socketserver's
        with contextlib.suppress(OSError):
            super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        import sys

        wrong = sys.exc_info()[1]
        if wrong is not None:
            self.service.faults.append(wrong)


@contextlib.contextmanager
def rude_service(
    folder: Path,
    *,
    pki: Pki | None = None,
    leaf: Leaf | None = None,
    tls: bool = True,
    address: str = "127.0.0.1",
) -> Iterator[RudeService]:
    """A service on a free port; ``leaf`` is its certificate, ``tls=False`` makes it plain HTTP."""
    pki = pki or shared_pki()
    leaf = leaf or pki.servers.leaf("service", usage=SERVER, between=True)
    server = Server(_context(folder, leaf) if tls else None, address)
    host = "localhost" if address == "127.0.0.1" else address
    server.service = RudeService(pki, f"https://{host}:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.service
    finally:
        server.service.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _context(folder: Path, leaf: Leaf) -> ssl.SSLContext:
    chain, key = leaf.write(folder, "service")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context
