"""A line between two processes: calls by number, many under way, on a Unix socket pair that nobody else has.

Frames: 4 bytes of length, 1 of kind, 4 of the call's number, then the body. All frames of one turn of the
event loop leave in one write. What no Keyborn sends ends the line: neither end ever guesses.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from keyborn.adapters.workers.calls import Call
from keyborn.adapters.workers.forms import UnreadableError, read_refusal, write_refusal
from keyborn.domain.errors import KeybornError, Overloaded, RegistryUnavailable, Unavailable

MAX_FRAME = 4 * 1024 * 1024
"""Bytes of a frame: the largest part of a forwarded body, in base 64, and room."""
UNDER_WAY = 4096
"""Calls that one end may have under way."""

HEAD = struct.Struct("<IBI")
ASK, ANSWER, REFUSAL = range(3)
"""Kinds of frames."""
_log = logging.getLogger("keyborn.workers")

Serve = Callable[..., Awaitable[Any]]


class Line(asyncio.Protocol):
    """One end. ``serves`` answers the other end's calls by their names; ``ended`` hears that it is over."""

    def __init__(
        self,
        offers: Sequence[Call],
        serves: Callable[[str], Serve],
        ended: Callable[[], None],
        *,
        limit: int = UNDER_WAY,
    ) -> None:
        """``offers`` is all that the other end may ask; ``limit`` of its calls and of ours at once."""
        self._offers = [(call, serves(call.name)) for call in offers]
        self._ended = ended
        self._limit = limit
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._serving: set[asyncio.Future[Any]] = set()
        self._next = 0
        self._rest = b""
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, call: Call, *arguments: object) -> Any:  # noqa: ANN401 - what the call gives
        """Ask the other end; raises what it refused with, Overloaded, or RegistryUnavailable for a lost line.

        After the last of these the effect may or may not have happened, as the ports have it.
        """
        body = await self._asked(call.number, call.takes.write(arguments))
        try:
            return call.gives.read(body)
        except UnreadableError:
            self._hang_up("an answer cannot be read")
            raise RegistryUnavailable from None

    def _asked(self, number: int, body: bytes) -> "asyncio.Future[bytes]":
        if self._transport is None:
            raise RegistryUnavailable
        if len(self._waiting) >= self._limit:
            raise Overloaded(seconds=1)
        self._next = (self._next + 1) & 0xFFFFFFFF
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[self._next] = future
        self._send(ASK, self._next, bytes((number,)) + body)
        return future

    def close(self) -> None:
        """Hang up; the other end hears of it."""
        if self._transport is not None:
            self._transport.close()

    # ── the transport ─────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as asyncio has it
        """Nobody answers any more. What was begun for the other end is finished: it may be half done."""
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(RegistryUnavailable())
        self._ended()

    def data_received(self, data: bytes) -> None:
        """Take whole frames, keep the rest."""
        data, at = self._rest + data if self._rest else data, 0
        while len(data) - at >= HEAD.size:
            size, kind, number = HEAD.unpack_from(data, at)
            end = at + HEAD.size + size
            if size > MAX_FRAME:
                self._hang_up("a frame is too large")
                return
            if end > len(data):
                break
            body, at = data[at + HEAD.size : end], end
            try:
                self._take(kind, number, body)
            except UnreadableError:
                self._hang_up("a frame cannot be read")
                return
        self._rest = data[at:]

    def _hang_up(self, why: str) -> None:
        _log.error("a line between core and worker ends: %s", why)
        if self._transport is not None:
            self._transport.abort()

    def _take(self, kind: int, number: int, body: bytes) -> None:
        if kind == ASK:
            self._serve(number, body)
            return
        if kind not in (ANSWER, REFUSAL):
            raise UnreadableError
        refusal = read_refusal(body) if kind == REFUSAL else None
        future = self._waiting.pop(number, None)
        if future is None or future.done():  # whoever asked has gone
            return
        if refusal is not None:
            future.set_exception(refusal)
        else:
            future.set_result(body)

    def _send(self, kind: int, number: int, body: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(HEAD.pack(len(body), kind, number))
        self._out.append(body)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(b"".join(out))

    # ── answering ─────────────────────────────────────────────────────────────────────────────────────

    def _serve(self, number: int, body: bytes) -> None:
        if not body or body[0] >= len(self._offers):
            raise UnreadableError
        if len(self._serving) >= self._limit:
            self._send(REFUSAL, number, write_refusal(Overloaded(seconds=1)))
            return
        call, serve = self._offers[body[0]]
        arguments = call.takes.read(body[1:])
        work = asyncio.ensure_future(serve(*arguments))
        self._serving.add(work)
        work.add_done_callback(lambda done: self._answer(number, call, done))

    def _answer(self, number: int, call: Call, work: "asyncio.Future[Any]") -> None:
        self._serving.discard(work)
        trouble = asyncio.CancelledError() if work.cancelled() else work.exception()
        if self._transport is None:
            return
        if trouble is not None:
            self._send(REFUSAL, number, write_refusal(told(call, trouble)))
            return
        try:
            answer = call.gives.write(work.result())
        except Exception as fault:  # noqa: BLE001 - whoever asked has to hear something
            self._send(REFUSAL, number, write_refusal(told(call, fault)))
        else:
            self._send(ANSWER, number, answer)


def told(call: Call, trouble: BaseException) -> KeybornError:
    """What the other end hears: a refusal as it is, anything else as a service that cannot answer now."""
    if isinstance(trouble, KeybornError):
        return trouble
    trace = trouble.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    _log.error("%s ended with an unforeseen %s at %s", call.name, type(trouble).__name__, place)
    return Unavailable()
