"""One HTTP/1.1 connection: httptools parses, limits that really cut, the peer's certificate in the scope.

What general servers leave out (design FACTS): they keep half-sent headers and bodies for ever, bound neither
the header block nor a pipelined body, take trailers for headers, queue any number of requests, wait for ever
for a reader of their answers, and do not put the client certificate into the ASGI scope. One deadline per
connection stands for whatever it owes next: the end of its headers, of its body, or its next request;
another one for reading what it was sent. Both are numbers that ``Connections`` looks at now and then.
"""

import asyncio
import math
import socket
import ssl
from collections import deque
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp, Scope

from keyborn.http.connections import Connections
from keyborn.http.cycle import Cycle
from keyborn.http.framing import sound

if TYPE_CHECKING:
    from httptools.parser.url_parser import URL

UNIX = "keyborn.unix"
"""Among a scope's extensions where the connection is one of a Unix socket. That its ``client`` is missing
says nothing: so it is where the peer went before it was asked for."""
_ERRORS = {
    400: b"The request is not HTTP.",
    408: b"The request did not arrive in time.",
    413: b"The request body is larger than 1 MiB.",
    431: b"The header block is larger than 16 KiB.",
    503: b"Too many connections. Try again in a few seconds.",
}
_NEVER = math.inf
_LEAST = 256
"""Connections that each of many processes may have, and wait for."""
_random = SystemRandom()
_ASGI = {"version": "3.0", "spec_version": "2.3"}


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Seconds and bytes that one connection may take."""

    handshake: float = 8.0
    headers: float = 8.0
    body: float = 8.0
    idle: float = 60.0
    send: float | None = 6.0
    """How long an answer may wait for its reader, beside what the kernel takes; None waits for ever."""
    linger: float = 1.0
    """How long a sender whose body nobody wants may go on, so that it can read the answer."""
    header_bytes: int = 16 * 1024
    linger_bytes: int = 1024 * 1024
    body_bytes: int = 1024 * 1024
    """What a body may take on the wire: chunks of one byte, their extensions, trailers. Its content is
    bounded by whoever reads it."""
    pipeline: int = 16
    """How many requests may queue behind an answer under way."""
    connections: int = 10_000
    arrivals: int = 1_000
    """How many may wait for their handshake before nobody else is accepted."""

    def shared_by(self, processes: int) -> "HttpLimits":
        """What each of so many processes may take, for all of them to take as much as one."""
        counts = (max(_LEAST, each // processes) for each in (self.connections, self.arrivals))
        connections, arrivals = counts
        return replace(self, connections=connections, arrivals=arrivals)


class GuardedProtocol(asyncio.Protocol):
    """One HTTP/1.1 connection under HttpLimits."""

    def __init__(self, app: ASGIApp, limits: HttpLimits, connections: Connections) -> None:
        self.due = self.stalled = _NEVER
        """When what the peer owes is late, and when it has read too little; by the loop's clock."""
        self.idle = False
        """Whether it has had an answer, and nothing has come since."""
        self.full: asyncio.Future[None] | None = None
        """Done when answers are read again; None while they are."""
        self._app = app
        self._limits = limits
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._lost = False
        self._reading = True
        self._cycle: Cycle | None = None
        self._queue: deque[Cycle] = deque()
        """Requests behind the one under way."""
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body_bytes = 0
        self._header_bytes: int | None = 0
        """Bytes of the header block that is due or under way; None while a body or an answer is."""
        self._chunk_is_headers = False
        self._in_message = False
        self._lingered: int | None = None
        """Bytes dropped since the answer, once the connection only waits for its sender to finish."""

    # ── the transport's side ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock; a connection over the limit is told so and closed."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.open.add(self)
        self._connections.made += 1
        self._tls = _tls_extension(self._transport)
        self._unix = _is_unix(self._transport)
        self._client = _address(transport, "peername")
        self._server = _address(transport, "sockname")
        if len(self._connections.open) > self._limits.connections:
            self._connections.make_room(1 + self._limits.connections // 100)
        if len(self._connections.open) > self._limits.connections:
            self._refuse(503)
        else:
            self._owes(self._limits.headers)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Stop the clocks; what has not begun is not done any more."""
        self._lost = True
        self._connections.open.discard(self)
        self.due = _NEVER
        self.resume_writing()
        if self._cycle is not None:
            self._cycle.leave()
        self._queue.clear()

    def pause_writing(self) -> None:
        """The answers are not being read: they may wait so long."""
        if self.full is None:
            self.full = self._loop.create_future()
            if self._limits.send is not None:
                self.stalled = self._loop.time() + self._limits.send

    def resume_writing(self) -> None:
        """The answers are being read again."""
        self.stalled = _NEVER
        if self.full is not None:
            self.full.set_result(None)
            self.full = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; whatever it raises is a 400, and a header block too long a 431."""
        if self._lost or self._transport.is_closing():
            return
        if self._lingered is not None:
            self._drop(data)
            return
        self._chunk_is_headers = self._header_bytes is not None
        if self._header_bytes is not None:
            self._header_bytes += len(data)
        elif self._in_message:
            self._body_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # nothing to upgrade to: it is answered as any request, and last
            self._arriving().keep_alive = False
        except httptools.HttpParserError:  # among them what our own callbacks raise
            self._refuse(400)
            return
        if self._body_bytes > self._limits.body_bytes:
            self._refuse(413)
        elif self._header_bytes is not None and self._header_bytes > self._limits.header_bytes:
            self._refuse(431)

    # ── the parser's side ──

    def on_message_begin(self) -> None:
        """The first byte of a request: its headers are due."""
        self._url = b""
        self._headers = []
        self._in_message, self.idle = True, False
        if not self._chunk_is_headers:  # it follows another message in one chunk: its share is unknown
            self._header_bytes = 1
        self._chunk_is_headers = False
        self._body_bytes = 0
        self._owes(self._limits.headers)

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer comes too late to be one, and is dropped (RFC 9110 6.5.1)."""
        if self._header_bytes is not None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The headers are in: the body is due.

        Raises ValueError, which ends the parsing, for too many, and for a head that is not sound.
        """
        self._header_bytes = None
        if len(self._queue) >= self._limits.pipeline:
            raise ValueError("too many requests in one go")
        self._owes(self._limits.body)
        version = self._parser.get_http_version()
        keep_alive = version != "1.0" and self._parser.should_keep_alive()
        target = httptools.parse_url(self._url)
        self._headers, expects = sound(version, target, self._headers)
        cycle = Cycle(self, self._scope(version, target), keep_alive=keep_alive, expects=expects)
        if self._cycle is None or self._cycle.complete:
            self._cycle = cycle
            cycle.start(self._app, self._connections.tasks)
        else:
            self._pause()
            self._queue.append(cycle)

    def on_body(self, body: bytes) -> None:
        """A part of the body of the request that arrives: the last one in the queue."""
        if self._arriving().feed(body):
            self._pause()

    def on_message_complete(self) -> None:
        """The request is whole: from here the time is ours."""
        self._in_message = False
        self.due = _NEVER
        self._arriving().end_body()

    def _arriving(self) -> Cycle:
        return self._queue[-1] if self._queue else cast("Cycle", self._cycle)

    def _scope(self, version: str, url: "URL") -> Scope:
        """The ASGI scope. Raises ValueError for a target that is none."""
        extensions: dict[str, Any] = {} if self._tls is None else {"tls": self._tls}
        if self._unix:
            extensions[UNIX] = {}
        path = url.path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "http" if self._tls is None else "https",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self._headers,
            "client": self._client,
            "server": self._server,
            "state": self._connections.state,
            "extensions": extensions,
        }

    # ── the cycle's side ──

    @property
    def date_line(self) -> bytes:
        """The Date header."""
        return self._connections.date_line

    @property
    def stopping(self) -> bool:
        """Whether the answer under way is the last one of this connection."""
        return self._connections.stopping

    def write(self, data: bytes) -> None:
        """Send, unless the connection ends."""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    async def flowing(self) -> None:
        """Return when answers are read again, or nobody is there to read them."""
        while self.full is not None:
            await asyncio.shield(self.full)

    def read_on(self) -> None:
        """Read again what the peer sends."""
        if not self._reading and not self._lost:
            self._reading = True
            self._transport.resume_reading()

    def answered(self, cycle: Cycle) -> None:
        """The answer is out: the next request is due; a body nobody read ends the connection."""
        self._connections.answered()
        if not cycle.keep_alive or cycle.more_body:
            self._close_after_answer(cycle)
        if self._lost or self._transport.is_closing() or self._lingered is not None:
            return
        self.read_on()
        if self._queue:
            self._cycle = self._queue.popleft()
            self._cycle.start(self._app, self._connections.tasks)
        elif not self._in_message:
            self._header_bytes = 0
            self._cycle, self._headers, self.idle = None, [], True  # an idle connection holds nothing
            self._owes(self._limits.idle)

    # ── the server's side ──

    def shut(self) -> None:
        """Close now, unless an answer is under way; that one says that it is the last."""
        if self._cycle is None or self._cycle.complete:
            self._close()
        else:
            self._cycle.keep_alive = False

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._transport.abort()

    def expire(self, now: float) -> None:
        """The peer is late: with a request, or with reading its answer."""
        if self.stalled <= now:
            self._transport.abort()
        elif self.due <= now:
            self._refuse(408)

    # ── how it is done ──

    def _owes(self, seconds: float) -> None:
        self.due = self._loop.time() + seconds

    def _close(self) -> None:
        """Close once the last answer is read, for which there is as long as for any."""
        self._transport.close()
        if self.stalled == _NEVER and self._limits.send is not None:
            self.stalled = self._loop.time() + self._limits.send

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _close_after_answer(self, cycle: Cycle) -> None:
        """Close; where a body is still coming, drop it for a moment: a reset would take the answer along."""
        if not cycle.more_body:
            self._close()
        elif self._lingered is None:
            self._lingered = 0
            self.read_on()
            self._owes(self._limits.linger)

    def _drop(self, data: bytes) -> None:
        self._lingered = (self._lingered or 0) + len(data)
        if self._lingered > self._limits.linger_bytes:
            self._close()

    def _refuse(self, status: int) -> None:
        """Say why, if nothing has been said yet, and close."""
        self.due = _NEVER
        if self._transport.is_closing():
            return
        if self._may_answer() and (self._header_bytes != 0 or status != 408):  # noqa: PLR2004 - idle: just ends
            self._transport.write(_plain_answer(status))
        self._close()

    def _may_answer(self) -> bool:
        """Whether the next bytes out would be taken for the answer to the request that is refused."""
        if self._cycle is None or self._cycle.complete:
            return self._lingered is None
        body_is_due = self._in_message and self._header_bytes is None
        return body_is_due and not self._queue and not self._cycle.started


def _plain_answer(status: int) -> bytes:
    text = _ERRORS[status]
    head = f"HTTP/1.1 {status} Refused\r\ncontent-type: text/plain\r\ncontent-length: {len(text)}\r\n"
    if status == 503:  # noqa: PLR2004
        head += f"retry-after: {2 + _random.randrange(7)}\r\n"
    return head.encode() + b"connection: close\r\n\r\n" + text


def _address(transport: asyncio.BaseTransport, which: str) -> tuple[str, int] | None:
    """Host and port; None on a Unix socket."""
    address = transport.get_extra_info(which)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None


def _tls_extension(transport: asyncio.Transport) -> dict[str, Any] | None:
    """The ASGI ``tls`` extension's part that we use: the verified client certificate, PEM, or none."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return None
    der = tls.getpeercert(binary_form=True)
    return {"client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)] if der else []}


def _is_unix(transport: asyncio.Transport) -> bool:
    sock = transport.get_extra_info("socket")
    return sock is not None and sock.family == socket.AF_UNIX
