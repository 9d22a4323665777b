"""What one hostile connection may cost: memory, log lines, time; and what a fault of ours tells."""

import asyncio
import contextlib
import logging
import socket
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
from support.http_stage import listening

CHUNKED = b"POST /headers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SECRET = "canary-4711"


async def headers(request: Request) -> Response:
    await guards.read_body(request)
    return PlainTextResponse(",".join(request.headers.keys()))


async def big(_request: Request) -> Response:
    return PlainTextResponse("x" * 1_000_000)


async def faulty(_request: Request) -> Response:
    raise LookupError(SECRET)


def app() -> Starlette:
    return Starlette(
        routes=[
            Route("/headers", headers, methods=["POST"]),
            Route("/big", big),
            Route("/faulty", faulty),
        ],
        exception_handlers={KeybornError: problems.on_keyborn_error, Exception: problems.on_fault},
    )


def serving(tmp_path: Path, limits: HttpLimits | None = None) -> AbstractAsyncContextManager[Path]:
    return listening(app(), tmp_path, limits)


async def flood(path: Path, head: bytes, part: bytes, most: int) -> int:
    """Send ``head``, then ``part`` again and again; returns how many bytes the server let us send."""
    _, writer = await asyncio.open_unix_connection(str(path))
    sent = 0
    with contextlib.suppress(ConnectionError):
        writer.write(head)
        while sent < most:
            writer.write(part)
            await writer.drain()
            sent += len(part)
    writer.close()
    return sent


async def ask(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("name", "head", "part"),
    [
        ("many trailers", CHUNKED + b"1\r\nx\r\n0\r\n", b"x-a: b\r\n" * 10_000),
        ("one endless trailer", CHUNKED + b"1\r\nx\r\n0\r\nx-a: ", b"b" * 80_000),
        ("an endless chunk extension", CHUNKED + b"1;", b"b" * 80_000),
    ],
)
async def test_what_stands_around_a_body_is_bounded_too(
    tmp_path: Path, name: str, head: bytes, part: bytes
) -> None:
    async with serving(tmp_path) as path:
        sent = await flood(path, head, part, 20_000_000)
    assert sent < 4_000_000, name


async def test_a_trailer_never_becomes_a_header(tmp_path: Path) -> None:
    trailer = b"1\r\nx\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    async with serving(tmp_path) as path:
        answer = await ask(path, CHUNKED.replace(b"Host: x", b"Host: x\r\nConnection: close") + trailer)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"authorization" not in answer


async def test_few_requests_may_queue_behind_an_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as path:
        answer = await ask(path, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
    assert answer.count(b"HTTP/1.1 200 OK") < 100


async def test_nobody_holds_a_connection_by_not_reading(tmp_path: Path) -> None:
    async with serving(tmp_path, HttpLimits(send=0.3)) as path:
        held = socket.socket(socket.AF_UNIX)
        held.setblocking(False)  # noqa: FBT003 - the socket's own signature
        await asyncio.get_running_loop().sock_connect(held, str(path))
        await asyncio.get_running_loop().sock_sendall(held, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        await asyncio.sleep(1.0)
        received = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(3):
                while got := await asyncio.get_running_loop().sock_recv(held, 65536):
                    received += len(got)
        held.close()
    assert received < 1_000_000, "the server had given up before we began to read"


async def test_a_slow_reader_who_does_read_gets_everything(tmp_path: Path) -> None:
    async with serving(tmp_path, HttpLimits(send=0.5)) as path:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=4096)
        writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = 0
        while got := await reader.read(50_000):
            received += len(got)
            await asyncio.sleep(0.01)
        writer.close()
    assert received > 1_000_000


@pytest.mark.parametrize(
    "request_head", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"]
)
async def test_a_sender_who_hangs_up_half_way_is_not_worth_a_line_in_the_log(
    tmp_path: Path, request_head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as path:
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"POST /headers HTTP/1.1\r\nHost: x\r\n" + request_head)
        await asyncio.sleep(0.05)
        writer.close()
        await asyncio.sleep(0.05)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_fault_of_ours_is_logged_in_one_line_without_its_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as path:
        answer = await ask(path, b"GET /faulty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500")
    assert b'"code":"internal"' in answer
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "LookupError" in told[0].getMessage()
    assert SECRET not in caplog.text


async def test_garbage_behind_a_request_is_not_its_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as path:
        answer = await ask(path, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01garbage\r\n\r\n")
    assert not answer.startswith(b"HTTP/1.1 400")


async def test_a_path_that_is_no_route_is_never_redirected_to_where_the_host_header_says(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as path:
        answer = await ask(path, b"GET /big/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"evil" not in answer


async def test_no_websocket_library_takes_a_connection_out_of_our_limits(tmp_path: Path) -> None:
    upgrade = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    async with serving(tmp_path) as path:
        answer = await ask(path, b"GET /nothing HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 404")
