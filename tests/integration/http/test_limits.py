"""Limits that really cut: what half-open, slow and oversized connections meet, while others are served."""

import asyncio
import contextlib
import socket
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from keyborn.domain.errors import KeybornError
from keyborn.http import guards, problems
from keyborn.http.protocol import HttpLimits
from keyborn.http.server import HttpServer
from support.figures import Figure
from support.http_stage import listening

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
QUICK = HttpLimits(headers=0.2, body=0.2, idle=0.3, connections=1000)
GET = b"GET /length HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def length(request: Request) -> Response:
    return PlainTextResponse(str(len(await guards.read_body(request))))


def app() -> Starlette:
    return Starlette(
        routes=[Route("/length", length, methods=["GET", "POST"])],
        exception_handlers={KeybornError: problems.on_keyborn_error},
    )


def serving(tmp_path: Path, limits: HttpLimits = QUICK) -> AbstractAsyncContextManager[Path]:
    return listening(app(), tmp_path, limits)


async def speak(path: Path, *parts: bytes, pause: float = 0.0) -> tuple[bytes, float]:
    """Send the parts; returns everything that came back until the server closed, and after how long."""
    began = time.monotonic()
    reader, writer = await asyncio.open_unix_connection(str(path))
    answer = b""
    try:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
        with contextlib.suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer, time.monotonic() - began


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("no byte at all", b""),
        ("half a request line", b"POST /len"),
        ("half the headers", b"POST /length HTTP/1.1\r\nHost: local"),
        ("empty lines for ever", b"\r\n\r\n"),
        ("no end of the body", b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123"),
        (
            "no end of a chunk",
            b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12",
        ),
        ("a request, then silence", GET),
        ("a request, then half of another", GET + b"GET /len"),
    ],
)
async def test_a_connection_that_stops_half_way_is_closed(tmp_path: Path, name: str, sent: bytes) -> None:
    async with serving(tmp_path) as path:
        _, took = await speak(path, sent)
    assert took < 1.5, name


async def test_bytes_that_trickle_do_not_move_the_deadline(tmp_path: Path) -> None:
    async with serving(tmp_path) as path:
        answer, took = await speak(
            path, *(bytes([c]) for c in b"POST /length HTTP/1.1\r\nHost: x"), pause=0.05
        )
    assert took < 3
    assert answer.startswith(b"HTTP/1.1 408") or not answer


async def test_a_slow_sender_is_told_that_time_ran_out(tmp_path: Path) -> None:
    async with serving(tmp_path) as path:
        answer, _ = await speak(path, b"POST /length HTTP/1.1\r\nHost: x\r\n")
    assert answer.startswith(b"HTTP/1.1 408")


async def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_refused_unread(tmp_path: Path) -> None:
    head = b"POST /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    async with serving(tmp_path) as path:
        whole, _ = await speak(path, head % guards.MAX_BODY + b"x" * guards.MAX_BODY)
        began = time.monotonic()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(head % (guards.MAX_BODY + 1))
        refused = await asyncio.wait_for(reader.readuntil(b"}"), 5)
        took = time.monotonic() - began
        writer.close()
    assert whole.endswith(b"\r\n\r\n16384")
    assert refused.startswith(b"HTTP/1.1 413")
    assert b'"code":"too_large"' in refused
    assert took < 0.2, "the answer did not wait for the body"


@pytest.mark.parametrize("size", [20_000, 100_000, 900_000])
async def test_a_sender_that_goes_on_can_still_read_why_it_was_refused(tmp_path: Path, size: int) -> None:
    head = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    async with serving(tmp_path) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        for part in (head, *[b"x" * 10_000] * (size // 10_000)):
            writer.write(part)
            await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_chunked_body_over_the_limit_is_cut_off(tmp_path: Path) -> None:
    head = b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    async with serving(tmp_path) as path:
        refused, _ = await speak(path, head, *([chunk] * 5))
    assert refused.startswith(b"HTTP/1.1 413")


async def test_sixty_megabytes_are_not_taken_in(tmp_path: Path) -> None:
    sent = 0
    async with serving(tmp_path) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(60):
                writer.write(b"x" * 1_000_000)
                await writer.drain()
                sent += 1
        writer.close()
        del reader
    assert sent < 6


async def test_a_header_block_over_sixteen_kilobytes_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as path:
        one_header, _ = await speak(path, b"GET /length HTTP/1.1\r\nX: " + b"x" * 20_000)
        many_headers, _ = await speak(path, b"GET /length HTTP/1.1\r\n" + b"X: y\r\n" * 4000)
    assert one_header.startswith(b"HTTP/1.1 431")
    assert many_headers.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_gets_400_and_never_500(tmp_path: Path, sent: bytes) -> None:
    async with serving(tmp_path) as path:
        answer, _ = await speak(path, sent)
    assert answer.startswith(b"HTTP/1.1 400"), answer[:80]


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    posts = [
        b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % n + b"x" * n for n in (1, 22, 333)
    ]
    async with serving(tmp_path) as path:
        answer, _ = await speak(path, b"".join(posts))
    bodies = [part.rsplit(b"\r\n\r\n")[-1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"1", b"22", b"333"]


async def test_five_hundred_silent_connections_leave_others_unharmed_and_are_closed(
    tmp_path: Path, figure: Figure
) -> None:
    async with serving(tmp_path) as path:
        silent = [asyncio.create_task(speak(path, b"POST /length HTTP/1.1\r\nHo")) for _ in range(500)]
        await asyncio.sleep(0.05)
        answer, took = await speak(path, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answer.startswith(b"HTTP/1.1 200")
        closed = await asyncio.gather(*silent)
    slowest = max(each for _, each in closed)
    figure(
        f"half-open connections: {len(closed)} closed, the slowest after {slowest:.2f} s; "
        f"another was answered after {took * 1000:.0f} ms"
    )
    assert took < slowest, "nobody waits until the silent ones have been given up"
    assert slowest < 4


async def test_connections_over_the_limit_are_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path, HttpLimits(connections=2)) as path:
        held = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
        await asyncio.sleep(0.05)
        answer, _ = await speak(path)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"\r\nretry-after: " in answer
        for _, writer in held:
            writer.close()


async def test_who_only_holds_a_connection_makes_room_for_who_asks(tmp_path: Path) -> None:
    """The oldest idle one leaves; who has a request under way, or has not had time to ask, stays."""
    async with serving(tmp_path, HttpLimits(connections=4)) as path:
        held = [await asyncio.open_unix_connection(str(path)) for _ in range(4)]
        for reader, writer in held[:2]:
            writer.write(ASK)
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 ")
            await asyncio.sleep(0.01)
        held[2][1].write(ASK[:20])
        await asyncio.sleep(0.05)
        for _ in range(2):  # both idle ones go, one after the other
            reader, writer = await asyncio.open_unix_connection(str(path))
            held.append((reader, writer))
            await asyncio.sleep(0.02)
        answer, _ = await speak(path)
        assert answer.startswith(b"HTTP/1.1 503")
        for reader, _ in held[:2]:
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 5)
            assert reader.at_eof() or reader.exception()
        held[2][1].write(ASK[20:])
        for number in (3, 4):
            held[number][1].write(ASK)
        for number in (2, 3, 4):
            heard = await asyncio.wait_for(held[number][0].readuntil(b"\r\n"), 5)
            assert b" 503 " not in heard
        for _, writer in held:
            writer.close()


async def test_an_answer_under_way_is_finished_when_the_server_stops(tmp_path: Path) -> None:
    began, finish = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        began.set()
        await finish.wait()
        return PlainTextResponse("done")

    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "s"))
    server = HttpServer(Starlette(routes=[Route("/", slow)]))
    await server.listen_unix(sock)
    asked = asyncio.create_task(speak(tmp_path / "s", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    await began.wait()
    stopping = asyncio.create_task(server.stop(5))
    await asyncio.sleep(0.01)
    finish.set()
    await stopping
    answer, _ = await asked
    assert answer.endswith(b"done")
