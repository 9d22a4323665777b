"""Requests that a worker took in and the core answers: everything but the devices' own routes.

The worker sends head and facts of the connection; the core runs its application on that, and is asked for
each step of the answer. The body of a request is read once the application asks for it, so that whoever is
refused before that is listened to no longer here than there.
"""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyborn.domain.errors import KeybornError, Overloaded
from keyborn.http import problems
from keyborn.http.dispatch import Dispatch
from keyborn.http.guards import PROXIED
from keyborn.http.request_mark import Mark, current
from keyborn.ports.forwarding import ForwardedCall, ForwardedStep, ForwardingDesk

STREAMS = 2048
"""Answers of one worker under way; those who are told late that they failed too often are among them."""
_OF_ALL_ROUTES = frozenset({"/openapi.json"})
"""Doors that tell of all routes, which the core alone knows."""
_PART = 512 * 1024
"""Bytes of an answer that one step brings at most."""


# ── the worker's side ─────────────────────────────────────────────────────────────────────────────────


def forwarding(own: Dispatch, desk: ForwardingDesk) -> ASGIApp:
    """An application that answers ``own``'s doors itself, and has ``desk`` answer everything else.

    Other methods of those paths included: a 405 names all that is answered there, which ``desk`` alone knows.
    """
    forward = _Forward(desk)

    async def _sorted(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        mine = path not in _OF_ALL_ROUTES and own.answers(path, scope["method"])
        await (own if mine else forward)(scope, receive, send)

    return _sorted


class _Forward:
    """One application that asks the desk."""

    def __init__(self, desk: ForwardingDesk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            step = await self._desk.open(_head_of(scope))
        except KeybornError as refusal:
            await problems.answer_problem(refusal)(scope, receive, send)
            return
        begun = False
        try:
            while True:
                begun = await _send_step(step, send) or begun
                if not step.more:
                    return
                step = await self._next(step, receive)
        except KeybornError as refusal:
            if begun:
                raise  # the answer ends in the middle, and the connection with it
            await problems.answer_problem(refusal)(scope, receive, send)
        except _GoneError:
            return
        finally:
            if step.more:
                with contextlib.suppress(KeybornError):
                    await self._desk.close(step.stream)

    async def _next(self, step: ForwardedStep, receive: Receive) -> ForwardedStep:
        if step.wants_body:
            part = await receive()
            if part["type"] == "http.disconnect":
                raise _GoneError
            return await self._desk.go_on(
                step.stream, part.get("body", b""), more=part.get("more_body", False)
            )
        return await self._while_there(step.stream, receive)

    async def _while_there(self, stream: int, receive: Receive) -> ForwardedStep:
        """The next step, unless whoever reads goes before it has come."""
        coming = asyncio.ensure_future(self._desk.go_on(stream, b"", more=False))
        going = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({coming, going}, return_when=asyncio.FIRST_COMPLETED)
            if going.done():
                raise _GoneError
            return coming.result()
        finally:
            for each in (coming, going):
                each.cancel()
            await asyncio.gather(coming, going, return_exceptions=True)


class _GoneError(Exception):
    """Nobody reads the answer any more."""


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_step(step: ForwardedStep, send: Send) -> bool:
    """Send what a step brings; whether the answer has begun with it."""
    if step.status is not None:
        headers = list(step.headers)
        await send({"type": "http.response.start", "status": step.status, "headers": headers})
    if step.wants_body:
        return step.status is not None
    if step.status is not None or step.body or not step.more:
        await send({"type": "http.response.body", "body": step.body, "more_body": step.more})
    return step.status is not None


def _head_of(scope: Scope) -> ForwardedCall:
    return ForwardedCall(
        method=scope["method"],
        path=scope["path"],
        raw_path=scope["raw_path"],
        query_string=scope["query_string"],
        headers=tuple((bytes(name), bytes(value)) for name, value in scope["headers"]),
        client=scope["client"],
        server=scope["server"],
        proxied=PROXIED in scope,
        request_id=mark.id if (mark := current.get()) is not None else "",
    )


# ── the core's side ───────────────────────────────────────────────────────────────────────────────────


class AnsweringDesk:
    """Implements ``ForwardingDesk`` with an application of this process; one for each worker."""

    def __init__(self, app: ASGIApp, *, most: int = STREAMS) -> None:
        self._app = app
        self._most = most
        self._open: dict[int, _Stream] = {}
        self._last = 0

    async def open(self, call: ForwardedCall) -> ForwardedStep:
        """See ``ForwardingDesk.open``."""
        if len(self._open) >= self._most:
            raise Overloaded(seconds=1)
        self._last += 1
        stream = self._open[self._last] = _Stream(self._last)
        stream.begin(self._app, _scope_of(call), call.request_id)
        return await self._step(stream)

    async def go_on(self, stream: int, body: bytes, *, more: bool) -> ForwardedStep:
        """See ``ForwardingDesk.go_on``."""
        known = self._open.get(stream)
        if known is None:
            return ForwardedStep(stream)
        known.feed(body, more=more)
        return await self._step(known)

    async def close(self, stream: int) -> None:
        """See ``ForwardingDesk.close``."""
        known = self._open.pop(stream, None)
        if known is not None:
            await known.end()

    @property
    def under_way(self) -> int:
        """How many answers are."""
        return len(self._open)

    async def close_all(self) -> None:
        """The worker has gone, or is to go."""
        for stream in list(self._open):
            await self.close(stream)

    async def _step(self, stream: "_Stream") -> ForwardedStep:
        step = await stream.step()
        if not step.more:
            await self.close(stream.number)
        return step


class _Stream:
    """One request of the application's, one step at a time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._task: asyncio.Task[None] | None = None
        self._parts: asyncio.Queue[Message] = asyncio.Queue()
        self._steps: asyncio.Queue[ForwardedStep] = asyncio.Queue(1)
        self._head: Message | None = None
        self._wanting = False
        self._all_read = False
        self._is_over = False

    def begin(self, app: ASGIApp, scope: Scope, request_id: str) -> None:
        """Run the application; whatever becomes of it, there is a last step."""

        async def _run() -> None:
            if request_id:
                current.set(Mark(request_id))
            with contextlib.suppress(Exception):  # problems.on_fault has logged and answered it
                await app(scope, self._receive, self._send)
            if not self._is_over:  # else nobody takes it, and the queue may be full
                await self._steps.put(ForwardedStep(self.number))

        self._task = asyncio.ensure_future(_run())

    def feed(self, body: bytes, *, more: bool) -> None:
        """The next part of the body, where that was asked for; nothing else is taken in."""
        if self._wanting:
            self._wanting, self._all_read = False, not more
            self._parts.put_nowait({"type": "http.request", "body": body, "more_body": more})

    async def step(self) -> ForwardedStep:
        """What comes next."""
        return await self._steps.get()

    async def end(self) -> None:
        """Nobody waits any more."""
        self._is_over = True
        self._parts.put_nowait({"type": "http.disconnect"})
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _receive(self) -> Message:
        if not self._all_read and not self._wanting:
            self._wanting = True
            await self._steps.put(ForwardedStep(self.number, more=True, wants_body=True))
        return await self._parts.get()

    async def _send(self, message: Message) -> None:
        if self._is_over:
            raise OSError("nobody reads this answer")
        if message["type"] == "http.response.start":
            self._head = message
            return
        body, more = bytes(message.get("body", b"")), bool(message.get("more_body", False))
        while len(body) > _PART:
            part, body = body[:_PART], body[_PART:]
            await self._steps.put(self._headed(ForwardedStep(self.number, body=part, more=True)))
        await self._steps.put(self._headed(ForwardedStep(self.number, body=body, more=more)))

    def _headed(self, step: ForwardedStep) -> ForwardedStep:
        head, self._head = self._head, None
        if head is None:
            return step
        headers = tuple((bytes(name), bytes(value)) for name, value in head.get("headers", ()))
        return replace(step, status=head["status"], headers=headers)


def _scope_of(call: ForwardedCall) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": "https",
        "path": call.path,
        "raw_path": call.raw_path,
        "query_string": call.query_string,
        "root_path": "",
        "headers": list(call.headers),
        "client": call.client,
        "server": call.server,
        "extensions": {},
        "state": {},
    } | ({PROXIED: True} if call.proxied else {})
