"""uvicorn's protocol with limits that really cut, and with the peer's certificate in the scope.

What uvicorn leaves out (design FACTS): it keeps half-sent headers and bodies for ever, bounds neither the
header block nor a pipelined body, takes trailers for headers, queues any number of requests, waits for ever
for a reader of its answers, and does not put the client certificate into the ASGI scope. One deadline per
connection stands for whatever it owes next: the end of its headers, of its body, or its next request;
another one for reading what it was sent.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_ERRORS = {
    400: b"The request is not HTTP.",
    408: b"The request did not arrive in time.",
    413: b"The request body is larger than 1 MiB.",
    431: b"The header block is larger than 16 KiB.",
    503: b"Too many connections.",
}


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Seconds and bytes that one connection may take."""

    handshake: float = 10.0
    headers: float = 10.0
    body: float = 10.0
    idle: float = 60.0
    send: float | None = 30.0
    """How long an answer may wait for its reader; None waits for ever."""
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


class GuardedProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection under HttpLimits."""

    limits: ClassVar[HttpLimits] = HttpLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own signature
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._body_bytes = 0
        self._header_bytes: int | None = 0
        """Bytes of the header block that is due or under way; None while a body or an answer is."""
        self._chunk_is_headers = False
        self._in_message = False
        self._lingered: int | None = None
        """Bytes dropped since the answer, once the connection only waits for its sender to finish."""

    @staticmethod
    def counted() -> None:
        """Called once for each answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Start the clock; a connection over the limit is told so and closed."""
        super().connection_made(transport)
        self._tls = _tls_extension(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(503)
        else:
            self._arm(self.limits.headers)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._disarm()
        self._flowing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The answers are not being read: they may wait so long."""
        super().pause_writing()
        if self.limits.send is not None and self._stalled is None:
            self._stalled = self.loop.call_later(self.limits.send, self.transport.abort)

    def resume_writing(self) -> None:
        """The answers are being read again."""
        self._flowing()
        super().resume_writing()

    def _flowing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; whatever it raises is a 400, and a header block too long a 431."""
        if self.parser is None or self.transport.is_closing():
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
            super().data_received(data)
        except (httptools.HttpParserError, ValueError):  # a URL that is no URL, a path outside ASCII
            self._refuse(400)
            return
        if self._body_bytes > self.limits.body_bytes:
            self._refuse(413)
        elif self._header_bytes is not None and self._header_bytes > self.limits.header_bytes:
            self._refuse(431)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """Refuse what is not HTTP, unless an earlier request still waits for its answer."""
        self._refuse(400)

    def on_message_begin(self) -> None:
        """The first byte of a request: its headers are due."""
        super().on_message_begin()
        self._in_message = True
        if not self._chunk_is_headers:  # it follows another message in one chunk: its share is unknown
            self._header_bytes = 1
        self._chunk_is_headers = False
        self._body_bytes = 0
        self._arm(self.limits.headers)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer comes too late to be one, and is dropped (RFC 9110 6.5.1)."""
        if self._header_bytes is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers are in: the body is due. Raises ValueError, which ends the parsing, for too many."""
        self._header_bytes = None
        if len(self.pipeline) >= self.limits.pipeline:
            raise ValueError("too many requests in one go")
        extensions: dict[str, Any] = {"tls": self._tls} if self._tls is not None else {}
        self.scope["extensions"] = extensions
        self._arm(self.limits.body)
        super().on_headers_complete()
        self.cycle.transport = _AnswerFirst(self.transport, self._close_after_answer)  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        """The request is whole: from here the time is ours."""
        self._in_message = False
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out: the next request is due, and a body nobody read ends the connection."""
        if not self.pipeline and self.cycle is not None and self.cycle.more_body:
            self._close_after_answer()
        super().on_response_complete()
        self.counted()
        idle = not self.pipeline and not self._in_message and self._lingered is None
        if idle and not self.transport.is_closing():
            self._header_bytes = 0
            self._arm(self.limits.idle)

    def _close_after_answer(self) -> None:
        """Close; where a body is still coming, drop it for a moment: a reset would take the answer along."""
        if not self.cycle.more_body:
            self.transport.close()
        elif self._lingered is None:
            self._lingered = 0
            self.flow.resume_reading()
            self._arm(self.limits.linger)

    def _drop(self, data: bytes) -> None:
        self._lingered = (self._lingered or 0) + len(data)
        if self._lingered > self.limits.linger_bytes:
            self.transport.close()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._refuse, 408)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int) -> None:
        """Say why, if nothing has been said yet, and close."""
        self._disarm()
        if self.transport.is_closing():
            return
        if self._may_answer() and (self._header_bytes != 0 or status != 408):  # noqa: PLR2004 - idle: just ends
            self.transport.write(_plain_answer(status))
        self.transport.close()

    def _may_answer(self) -> bool:
        """Whether the next bytes out would be taken for the answer to the request that is refused."""
        if self.cycle is None or self.cycle.response_complete:
            return self._lingered is None
        body_is_due = self._in_message and self._header_bytes is None
        return body_is_due and not self.pipeline and not self.cycle.response_started


class _AnswerFirst:
    """The transport as a request's cycle sees it: closing waits for the answer to be read."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close
        self.write = transport.write
        self.is_closing = transport.is_closing


def _plain_answer(status: int) -> bytes:
    text = _ERRORS[status]
    head = f"HTTP/1.1 {status} Refused\r\ncontent-type: text/plain\r\ncontent-length: {len(text)}\r\n"
    return head.encode() + b"connection: close\r\n\r\n" + text


def _tls_extension(transport: asyncio.Transport) -> dict[str, Any] | None:
    """The ASGI ``tls`` extension's part that we use: the verified client certificate, PEM, or none."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return None
    der = tls.getpeercert(binary_form=True)
    return {"client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)] if der else []}
