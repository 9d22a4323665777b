"""The application behind an HTTP API of API Gateway: Lambda events of payload format 2.0 to ASGI, and back.

Rules of the format: API Gateway Developer Guide, "AWS Lambda proxy integrations for HTTP APIs". Whatever
happens the caller gets an answer of ours: what a function raises, Lambda logs with its message, and that may
hold what the caller sent.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypedDict
from urllib.parse import unquote

from starlette.responses import Response
from starlette.types import ASGIApp, Message

from keyborn.domain.errors import MalformedRequest, Overloaded
from keyborn.http import problems

RESERVE = 4.6
"""Seconds before the function's time limit at which nothing is tried again: as long as one call to AWS takes
that gets no answer (wiring/aws.py: one to connect, three to read), and the answer to the caller."""
THREADS = 16
"""What one request may do side by side: ten policies of a certificate, its thing, its status, some more."""
_LAST = 0.4
"""Seconds before the time limit at which the answer is given, whatever is still under way."""
_START = 3.0
"""Seconds that the start may wait for something: Lambda gives ten (Developer Guide, "Lambda execution
environment lifecycle")."""
_OURS_ALONE = frozenset({b"connection", b"content-length"})
"""Headers that API Gateway writes for itself."""
_VERSION = "2.0"
_log = logging.getLogger("keyborn.http")


class LambdaContext(Protocol):
    """What is used of the context object (Lambda Developer Guide, "Lambda context object in Python")."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended from outside."""
        ...


class Answer(TypedDict):
    """The response of payload format 2.0."""

    statusCode: int
    headers: dict[str, str]
    body: str
    isBase64Encoded: bool


Deadline = Callable[[float], AbstractContextManager[None]]
"""Bounds what is done inside it to so many seconds from now."""


class LambdaHandler:
    """The function's entry point: one application and one event loop for as long as the instance lives."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        within: Deadline = lambda _seconds: nullcontext(),
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``within`` is entered for each request with the seconds it may take.

        ``prepare`` is what the first request would have to do first, if the start has not done it.
        """
        self._app = app
        self._within = within
        self._prepare = prepare
        self._runner = asyncio.Runner()
        # The loop's own pool has four threads more than the machine has processors.
        self._runner.get_loop().set_default_executor(ThreadPoolExecutor(THREADS))

    def __call__(self, event: Mapping[str, Any], context: LambdaContext) -> Answer:
        """Answer one request; raises nothing. Not for two threads at once: Lambda never does that."""
        try:
            return self._runner.run(self._answer(event, context.get_remaining_time_in_millis() / 1000))
        except TimeoutError:
            return _problem(problems.answer_problem(Overloaded(seconds=2)))
        except (Exception, asyncio.CancelledError) as fault:  # noqa: BLE001 - nobody else may answer
            _log.error("a request ended with %s", type(fault).__name__)
            return _problem(problems.internal_problem())

    def prepare(self) -> None:
        """Do at the start what a first caller would wait for. Raises nothing: else that one does it."""
        if self._prepare is None:
            return
        try:
            self._runner.run(self._in_time(self._prepare))
        except (Exception, asyncio.CancelledError) as trouble:  # noqa: BLE001 - it may serve for all that
            _log.warning("the start was not prepared: %s", type(trouble).__name__)

    async def _in_time(self, work: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.timeout(_START):
            with self._within(_START):
                await work()

    def close(self) -> None:
        """End the event loop; only tests have a need for it."""
        self._runner.close()

    async def _answer(self, event: Mapping[str, Any], remaining: float) -> Answer:
        exchange = _Exchange(event)
        async with asyncio.timeout(remaining - _LAST):
            with self._within(remaining - RESERVE):
                await exchange.run(self._app)
        return exchange.answer()


class _Exchange:
    """One request on its way through the application."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        if event.get("version") != _VERSION:
            raise ValueError("the event is not of payload format 2.0")
        self._event = event
        self._asked = False
        self._status = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._body = bytearray()
        self._whole = False

    async def run(self, app: ASGIApp) -> None:
        """Run ``app``. A fault after its answer has been logged by problems.on_fault, and ends here."""
        try:
            await app(self._scope(), self._receive, self._send)
        except Exception as fault:
            if not self._whole:
                raise
            _log.debug("a request ended with %s", type(fault).__name__)

    def answer(self) -> Answer:
        """What the application sent; raises RuntimeError if that is not a whole answer.

        An answer to HEAD has no body (RFC 9110, 9.3.2), whatever the route sent.
        """
        if not self._whole:
            raise RuntimeError("the application gave no answer")
        asked = self._event["requestContext"]["http"]["method"]
        return _answer(self._status, self._headers, b"" if asked == "HEAD" else bytes(self._body))

    def _scope(self) -> dict[str, Any]:
        http: Mapping[str, str] = self._event["requestContext"]["http"]
        path = self._event["rawPath"]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": http["method"],
            "scheme": "https",
            "path": unquote(path),
            "raw_path": _latin(path),
            "query_string": _latin(self._event.get("rawQueryString") or ""),
            "root_path": "",
            "headers": [
                (_latin(name.lower()), _latin(value))
                for name, value in (self._event.get("headers") or {}).items()
            ],
            "client": (http["sourceIp"], 0),
            "server": (self._event["requestContext"].get("domainName", ""), 443),
            "state": {},
        }

    async def _receive(self) -> Message:
        """The body, decoded when the route asks for it and not before; raises MalformedRequest."""
        if self._asked:
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": self._request_body(), "more_body": False}

    def _request_body(self) -> bytes:
        body: str = self._event.get("body") or ""
        if not self._event.get("isBase64Encoded"):
            return body.encode("utf-8", "surrogatepass")  # a lone surrogate is for the JSON parser to refuse
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise MalformedRequest(detail="its body did not arrive whole") from None

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = message.get("headers", ())
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            self._whole = not message.get("more_body", False)


def _problem(response: Response) -> Answer:
    return _answer(response.status_code, response.raw_headers, bytes(response.body))


def _answer(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Answer:
    """The response; its body is text wherever it is UTF-8."""
    joined: dict[str, str] = {}
    for name, value in headers:
        if name.lower() not in _OURS_ALONE:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            joined[key] = f"{joined[key]}, {text}" if key in joined else text
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body).decode(), True
    return {"statusCode": status, "headers": joined, "body": text, "isBase64Encoded": encoded}


def _latin(text: str) -> bytes:
    """Octets as HTTP has them; what cannot be one becomes a question mark."""
    return text.encode("latin-1", "replace")
