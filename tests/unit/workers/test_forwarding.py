"""Requests that one process takes in and another one answers look to a caller as if there were one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from keyborn.domain.errors import NotFound, Overloaded
from keyborn.http import problems
from keyborn.http.dispatch import Dispatch
from keyborn.http.forwarding import AnsweringDesk, forwarding
from keyborn.http.guards import read_body
from keyborn.http.incoming import Incoming
from keyborn.ports.forwarding import ForwardedCall, ForwardedStep

LARGE = 3 * 1024 * 1024 + 5
CALL = ForwardedCall("GET", "/large", b"/large", b"", (), ("10.0.0.9", 7), ("127.0.0.1", 443))


class Far:
    """The application of the core."""

    def __init__(self) -> None:
        self.gone_on = 0

    def app(self) -> Starlette:
        routes = [
            Route("/here", self.there, methods=["DELETE"]),
            Route("/echo", self.echo, methods=["POST"]),
            Route("/large", self.large),
            Route("/endless", self.endless),
            Route("/missing", self.missing),
            Route("/fault", self.fault),
            Route("/unheard", self.unheard, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers=problems.HANDLERS)

    async def there(self, _request: Request) -> Response:
        return PlainTextResponse("there")

    async def echo(self, request: Request) -> Response:
        body = await read_body(request, 100_000)
        source = request.client.host if request.client else ""
        return PlainTextResponse(
            f"{source} {request.query_params['q']} {len(body)}", headers={"X-Far": "yes"}
        )

    async def large(self, _request: Request) -> Response:
        return Response(b"x" * LARGE)

    async def endless(self, _request: Request) -> Response:
        return StreamingResponse(self._beats())

    async def _beats(self) -> AsyncIterator[bytes]:
        while True:
            self.gone_on += 1
            yield b"beat"

    async def missing(self, _request: Request) -> Response:
        raise NotFound(what="thing", name="lamp")

    async def fault(self, _request: Request) -> Response:
        raise ZeroDivisionError("secret")

    async def unheard(self, _request: Request) -> Response:
        return PlainTextResponse("no", 401)


async def here(_request: Incoming) -> Response:
    return PlainTextResponse("here")


class Caller:
    """One request, as a server's protocol hands it on."""

    def __init__(self, method: str, path: str, *parts: bytes, query: str = "") -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"x-forwarded-for", b"1.2.3.4")],
            "client": ("10.0.0.9", 4711),
            "server": ("127.0.0.1", 443),
            "extensions": {},
            "state": {},
        }
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self.has_read = asyncio.Event()
        """Some of the answer."""
        self.asked = 0
        self._parts = list(parts) or [b""]

    async def receive(self) -> Message:
        self.asked += 1
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if len(self.sent) > 10:
            self.has_read.set()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(each["body"] for each in self.sent[1:])


@asynccontextmanager
async def joined(far: Far, most: int = 100) -> AsyncIterator[ASGIApp]:
    desk = AnsweringDesk(far.app(), most=most)
    yield forwarding(Dispatch([("GET", "/here", here)]), desk)
    assert not desk.under_way
    await desk.close_all()


async def asked(app: ASGIApp, caller: Caller) -> Caller:
    await app(caller.scope, caller.receive, caller.send)
    return caller


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_its_own_routes_are_answered_here_and_other_methods_of_them_there() -> None:
    async with joined(Far()) as app:
        assert (await asked(app, Caller("GET", "/here"))).body == b"here"
        assert (await asked(app, Caller("DELETE", "/here"))).body == b"there"
        refused = await asked(app, Caller("PUT", "/here"))
        assert (refused.status, refused.headers[b"allow"]) == (405, b"DELETE")
        assert (await asked(app, Caller("GET", "/nowhere"))).status == 404


async def test_body_query_address_and_headers_come_over() -> None:
    async with joined(Far()) as app:
        caller = await asked(app, Caller("POST", "/echo", b"a" * 10, b"b" * 20, b"", query="q=1"))
        assert (caller.status, caller.body) == (200, b"10.0.0.9 1 30")
        assert caller.headers[b"x-far"] == b"yes"


async def test_a_large_answer_comes_in_parts_and_whole() -> None:
    async with joined(Far()) as app:
        caller = await asked(app, Caller("GET", "/large"))
        assert caller.headers[b"content-length"] == str(LARGE).encode()
        assert caller.body == b"x" * LARGE
        assert len(caller.sent) > 5
        assert [each.get("more_body", True) for each in caller.sent[1:]][-1] is False


async def test_refusals_and_faults_are_those_of_the_application() -> None:
    async with joined(Far()) as app:
        assert (await asked(app, Caller("GET", "/missing"))).status == 404
        fault = await asked(app, Caller("GET", "/fault"))
        assert fault.status == 500
        assert b"secret" not in fault.body


async def test_who_is_refused_before_the_body_is_not_listened_to() -> None:
    async with joined(Far()) as app:
        caller = await asked(app, Caller("POST", "/unheard", b"a" * 100, b"b" * 100))
        assert (caller.status, caller.asked) == (401, 0)


async def test_a_body_beyond_its_limit_is_refused_as_it_comes() -> None:
    async with joined(Far()) as app:
        caller = await asked(app, Caller("POST", "/echo", *[b"a" * 60_000] * 50, query="q=1"))
        assert caller.status == 413
        assert caller.asked < 10


async def test_a_reader_that_goes_ends_an_endless_answer() -> None:
    far = Far()
    async with joined(far) as app:
        caller = Caller("GET", "/endless")
        answering = asyncio.ensure_future(asked(app, caller))
        async with asyncio.timeout(5):
            await caller.has_read.wait()
            caller.gone.set()
            await answering
    heard = far.gone_on
    await turns(20)
    assert far.gone_on == heard


async def test_nothing_is_made_ahead_of_who_reads() -> None:
    far = Far()
    desk = AnsweringDesk(far.app())
    step = await desk.open(replace(CALL, path="/endless", raw_path=b"/endless"))
    await turns(50)
    assert far.gone_on <= 3
    await desk.close(step.stream)
    assert await desk.go_on(step.stream, b"", more=False) == ForwardedStep(step.stream)


async def test_too_many_at_once_are_told_to_come_again() -> None:
    far = Far()
    desk = AnsweringDesk(far.app(), most=2)
    app = forwarding(Dispatch([]), desk)
    for _ in range(2):
        await desk.open(CALL)
    caller = await asked(app, Caller("GET", "/missing"))
    assert (caller.status, b"retry-after" in caller.headers) == (503, True)
    with pytest.raises(Overloaded):
        await desk.open(CALL)
    await desk.close_all()
    assert (await asked(app, Caller("GET", "/missing"))).status == 404
