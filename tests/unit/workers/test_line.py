"""A line: many calls at once, and an end to it for whatever no Keyborn sends."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from keyborn.adapters.workers.calls import Call
from keyborn.adapters.workers.forms import Form
from keyborn.adapters.workers.line import MAX_FRAME, Line
from keyborn.domain.errors import Overloaded, RegistryUnavailable, ThingRevoked, Unavailable

DOUBLE = Call(0, "double", Form(tuple[int]), Form(int))
FAIL = Call(1, "fail", Form(tuple[str]), Form(int))
WAIT = Call(2, "wait", Form(tuple[()]), Form(int))
CALLS = (DOUBLE, FAIL, WAIT)


@dataclass
class Ends:
    near: Line
    far: Line
    ended: list[str]


class Serving:
    """The far end's affairs."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    def serve(self, name: str) -> Callable[..., Awaitable[Any]]:
        found: Callable[..., Awaitable[Any]] = getattr(self, name)
        return found

    async def double(self, number: int) -> int:
        return 2 * number

    async def fail(self, how: str) -> int:
        if how == "refusal":
            raise ThingRevoked(name="lamp", status="revoked")
        if how == "wrong":
            return "no number"  # type: ignore[return-value]
        raise ZeroDivisionError(how)

    async def wait(self) -> int:
        await self.released.wait()
        return 1


def no_one(name: str) -> Callable[..., Awaitable[Any]]:
    raise AssertionError(name)


@asynccontextmanager
async def joined(serving: Serving, limit: int = 100) -> AsyncIterator[Ends]:
    one, other = socket.socketpair()
    loop, ended = asyncio.get_running_loop(), list[str]()
    near = Line((), no_one, lambda: ended.append("near"), limit=limit)
    far = Line(CALLS, serving.serve, lambda: ended.append("far"), limit=limit)
    await loop.connect_accepted_socket(lambda: near, one)
    await loop.connect_accepted_socket(lambda: far, other)
    try:
        yield Ends(near, far, ended)
    finally:
        near.close()
        far.close()
        await turns()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_thousand_calls_at_once_each_get_their_own_answer() -> None:
    async with joined(Serving(), limit=1000) as ends:
        answers = await asyncio.gather(*(ends.near.ask(DOUBLE, number) for number in range(1000)))
        assert answers == [2 * number for number in range(1000)]


async def test_a_refusal_comes_over_and_a_fault_says_nothing() -> None:
    async with joined(Serving()) as ends:
        with pytest.raises(ThingRevoked, match="lamp is revoked"):
            await ends.near.ask(FAIL, "refusal")
        with pytest.raises(Unavailable) as fault:
            await ends.near.ask(FAIL, "secret")
        assert "secret" not in str(fault.value)
        assert await ends.near.ask(DOUBLE, 4) == 8


async def test_an_answer_of_the_wrong_type_ends_the_line() -> None:
    async with joined(Serving()) as ends:
        with pytest.raises(RegistryUnavailable):
            await ends.near.ask(FAIL, "wrong")
        with pytest.raises(RegistryUnavailable):
            await ends.near.ask(DOUBLE, 1)


async def test_beyond_the_limit_a_caller_is_told_to_come_again() -> None:
    serving = Serving()
    async with joined(serving, limit=3) as ends:
        waiting = [asyncio.ensure_future(ends.near.ask(WAIT)) for _ in range(3)]
        await turns()
        with pytest.raises(Overloaded) as busy:
            await ends.near.ask(DOUBLE, 1)
        assert busy.value.retry_after == 1
        serving.released.set()
        assert await asyncio.gather(*waiting) == [1, 1, 1]
        assert await ends.near.ask(DOUBLE, 1) == 2


async def test_who_stops_waiting_harms_nobody() -> None:
    serving = Serving()
    async with joined(serving) as ends:
        waiting = asyncio.ensure_future(ends.near.ask(WAIT))
        await turns()
        waiting.cancel()
        serving.released.set()
        assert await ends.near.ask(DOUBLE, 3) == 6


async def test_when_the_other_end_goes_everybody_hears_of_it() -> None:
    async with joined(Serving()) as ends:
        waiting = asyncio.ensure_future(ends.near.ask(WAIT))
        await turns()
        ends.far.close()
        with pytest.raises(RegistryUnavailable):
            await waiting
        with pytest.raises(RegistryUnavailable):
            await ends.near.ask(DOUBLE, 1)
        assert sorted(ends.ended) == ["far", "near"]


def frame(kind: int, number: int, body: bytes) -> bytes:
    return struct.pack("<IBI", len(body), kind, number) + body


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("<IBI", MAX_FRAME + 1, 0, 1),
        struct.pack("<IBI", 0xFFFFFFFF, 0, 1),
        frame(3, 1, b""),
        frame(0, 1, b""),
        frame(0, 1, b"\x03[1]"),
        frame(0, 1, b"\xff[1]"),
        frame(0, 1, b"\x00"),
        frame(0, 1, b"\x00[1,2]"),
        frame(0, 1, b'\x00["a"]'),
        frame(0, 1, b"\x00[" * 50_000),
        frame(2, 1, b"no refusal"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_hostile_bytes_end_the_line(sent: bytes) -> None:
    ended = asyncio.Event()
    one, other = socket.socketpair()
    one.setblocking(False)  # noqa: FBT003 - as the library has it
    line = Line(CALLS, Serving().serve, ended.set)
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: line, other)
    with one:
        await loop.sock_sendall(one, sent)
        async with asyncio.timeout(5):
            await ended.wait()


@pytest.mark.parametrize("step", [1, 2, 3, 7, 10, 1000])
async def test_frames_may_come_in_any_pieces(step: int) -> None:
    one, other = socket.socketpair()
    one.setblocking(False)  # noqa: FBT003 - as the library has it
    line, loop = Line(CALLS, Serving().serve, lambda: None), asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: line, other)
    sent = b"".join(frame(0, number, b"\x00[%d]" % number) for number in range(20))
    with one:
        for at in range(0, len(sent), step):
            await loop.sock_sendall(one, sent[at : at + step])
            await turns(1)
        expected = b"".join(frame(1, number, b"%d" % (2 * number)) for number in range(20))
        received = b""
        async with asyncio.timeout(5):
            while len(received) < len(expected):
                received += await loop.sock_recv(one, 65536)
        assert received == expected
        line.close()
        await turns()
