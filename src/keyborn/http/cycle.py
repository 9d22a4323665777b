"""One request and its answer, as ASGI has them: the body on its way in, head and body out in one write."""

import asyncio
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Scope

from keyborn.service import errands

if TYPE_CHECKING:
    from keyborn.http.protocol import GuardedProtocol

HIGH_WATER = 64 * 1024
"""Bytes of a body that wait for their reader before the connection is read no further."""
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_FAULT = b"content-type: text/plain\r\ncontent-length: 21\r\nconnection: close\r\n\r\nInternal Server Error"
_STATUS_LINES = {int(each): f"HTTP/1.1 {int(each)} {each.phrase}\r\n".encode() for each in HTTPStatus}
_log = logging.getLogger("keyborn.http")


class Cycle(errands.Errand):
    """Runs the application for one request. ASGI 3.0, HTTP spec version 2.3."""

    __slots__ = (
        "_body", "_chunked", "_connection", "_expects", "_head", "_left", "_news", "_reader", "_task",
        "_tasks", "begun", "complete", "gone", "keep_alive", "more_body", "scope", "started",
    )  # fmt: skip

    def __init__(
        self, connection: "GuardedProtocol", scope: Scope, *, keep_alive: bool, expects: bool
    ) -> None:
        """``expects``: the caller waits for 100 Continue before it sends its body."""
        super().__init__()
        self.scope = scope
        self.keep_alive = keep_alive
        self.more_body = True
        """Whether some of the request's body is still to come."""
        self.begun = self.started = self.complete = self.gone = False
        """The application runs; the head of the answer is known; the answer is out; the caller has left."""
        self._connection = connection
        self._expects = expects
        self._body: bytes | bytearray = b""
        self._news = False
        self._reader: asyncio.Future[None] | None = None
        self._head: bytes | None = None
        self._left = 0
        """Bytes that the answer's Content-Length still promises."""
        self._chunked = False
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # ── what the connection tells ──

    def start(self, app: ASGIApp, tasks: set[asyncio.Task[None]]) -> None:
        """Run ``app`` in a task of its own."""
        self._task = asyncio.get_running_loop().create_task(self._run(app))
        tasks.add(self._task)
        self._tasks = tasks

    def feed(self, body: bytes) -> bool:
        """More of the body; says whether so much waits that no more should be read."""
        if self.complete:
            return False
        if self._body:
            self._body = self._body if isinstance(self._body, bytearray) else bytearray(self._body)
            self._body += body
        else:
            self._body = body
        self._tell()
        return len(self._body) > HIGH_WATER

    def end_body(self) -> None:
        """That was all of the body."""
        self.more_body = False
        self._tell()

    def leave(self) -> None:
        """The caller has left: what has not begun is not done any more."""
        self.gone = True
        self._tell()
        if self._task is not None and (self.in_line or not self.begun):
            self._task.cancel()
            self._tasks.discard(self._task)  # one that never begins ends nothing itself

    # ── what the application sees ──

    async def receive(self) -> Message:
        """ASGI: the next part of the body, or that the caller has left."""
        if self._expects:
            self._expects = False
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._news or self.gone or self.complete):
            self._connection.read_on()
            if self._reader is None:
                self._reader = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._reader)
        if self.gone or self.complete:
            return {"type": "http.disconnect"}
        body, self._body, self._news = self._body, b"", False
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """ASGI: the head or a part of the body of the answer. Raises RuntimeError for what is no answer."""
        if self._connection.full is not None:
            await self._connection.flowing()
        if self.gone:
            return
        if not self.started:
            self._begin(message)
        elif self.complete:
            raise RuntimeError("the answer was complete")
        else:
            self._go_on(message)

    # ── how it is done ──

    async def _run(self, app: ASGIApp) -> None:
        """Faults end here: the application answers and logs its own, without what the caller sent."""
        self.begun = True
        errands.current.set(self)
        try:
            await app(self.scope, self.receive, self.send)
        except (Exception, asyncio.CancelledError) as fault:  # noqa: BLE001 - problems.on_fault has logged it
            _log.debug("a request ended with %s", type(fault).__name__)
        if not (self.complete or self.gone):
            self._give_up()
        if self._task is not None:
            self._tasks.discard(self._task)

    def _give_up(self) -> None:
        """There will be no whole answer: say so, or end the connection in the middle of it."""
        if not self.started or self._head is not None:
            self._connection.write(_STATUS_LINES[500] + self._connection.date_line + _FAULT)
        self.started = self.complete = True
        self.keep_alive = False
        self._connection.answered(self)

    def _tell(self) -> None:
        self._news = True
        if self._reader is not None:
            reader, self._reader = self._reader, None
            if not reader.done():
                reader.set_result(None)

    def _begin(self, message: Message) -> None:
        """Keep the head until its body is there, unless nobody can say when that will be."""
        if message["type"] != "http.response.start":
            raise RuntimeError("the answer has to start first")
        status = message["status"]
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, self._connection.date_line]
        length = self._read(message.get("headers", ()), lines)
        if self._connection.stopping:
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        bodiless = self.scope["method"] == "HEAD" or status in _BODILESS
        self._chunked = length is None and not bodiless
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._left = 0 if bodiless or length is None else length
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise RuntimeError("a header of the answer holds the end of a line")
        self.started = True
        self._head = head
        if self._chunked:
            self._connection.write(head)
            self._head = None

    def _read(self, headers: Iterable[tuple[bytes, bytes]], lines: list[bytes]) -> int | None:
        """Put the headers into ``lines``, but for those about the connection; returns the Content-Length."""
        length = None
        for name, value in headers:
            name = name.lower()  # noqa: PLW2901 - the name as it is sent
            if name == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
                continue
            if name == b"transfer-encoding":
                continue
            if name == b"content-length":
                length = int(value)
            lines.append(b"%b: %b\r\n" % (name, value))
        return length

    def _go_on(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError("the answer has started already")
        body, more = message.get("body", b""), message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            body = b""
        head, self._head = self._head or b"", None
        if self._chunked:
            part = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._connection.write(part if more else part + b"0\r\n\r\n")
        else:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                self._head = head or None
                raise RuntimeError("the answer is not as long as it says")
            self._connection.write(head + body)
        if not more:
            self.complete = True
            self._tell()
            self._connection.answered(self)
