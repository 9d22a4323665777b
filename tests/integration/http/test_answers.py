"""How answers leave: head and body at once, nothing smuggled into a head, the end said where it is one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from keyborn.http import guards
from keyborn.http.cycle import Cycle
from keyborn.http.protocol import GuardedProtocol
from support.http_stage import listening

HEAD = b"HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"Connection: close\r\n"


async def echo(request: Request) -> Response:
    return PlainTextResponse(await guards.read_body(request))


async def smuggle(_request: Request) -> Response:
    response = PlainTextResponse("x")
    response.raw_headers.append((b"x-a", b"b\r\nset-cookie: evil"))
    return response


async def short(_request: Request) -> Response:
    return PlainTextResponse("x", headers={"content-length": "5"})


async def dripping(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"first"
        await request.app.state.go_on.wait()
        yield b"second"

    return StreamingResponse(parts())


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers nothing at all."""


def app() -> Starlette:
    made = Starlette(
        routes=[
            Route("/echo", echo, methods=["GET", "POST"]),
            Route("/smuggle", smuggle),
            Route("/short", short),
            Route("/dripping", dripping),
        ]
    )
    made.state.go_on = asyncio.Event()
    made.mount("/silent", silent)
    return made


def serving(tmp_path: Path, made: Starlette | None = None) -> AbstractAsyncContextManager[Path]:
    return listening(made or app(), tmp_path)


async def ask(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_an_answer_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    really = GuardedProtocol.write

    def noting(protocol: GuardedProtocol, data: bytes) -> None:
        writes.append(data)
        really(protocol, data)

    monkeypatch.setattr(GuardedProtocol, "write", noting)
    async with serving(tmp_path) as path:
        answer = await ask(path, b"GET /echo " + HEAD + CLOSE + b"\r\n")
    assert writes == [answer]
    assert answer.count(b"\r\ndate: ") == 1


@pytest.mark.parametrize(
    ("request_line", "more"),
    [(b"GET /echo HTTP/1.0\r\n", b""), (b"GET /echo HTTP/1.1\r\n", CLOSE)],
)
async def test_the_last_answer_of_a_connection_says_so(
    tmp_path: Path, request_line: bytes, more: bytes
) -> None:
    async with serving(tmp_path) as path:
        answer = await ask(path, request_line + b"Host: x\r\n" + more + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b"connection: close\r\n") == 1


async def test_the_head_alone_has_no_body_behind_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as path:
        answer = await ask(path, b"HEAD /short " + HEAD + CLOSE + b"\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 5" in answer


async def test_a_header_that_holds_the_end_of_a_line_is_never_sent(tmp_path: Path) -> None:
    async with serving(tmp_path) as path:
        answer = await ask(path, b"GET /smuggle " + HEAD + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"evil" not in answer


@pytest.mark.parametrize("route", [b"/short", b"/silent/"])
async def test_no_answer_or_half_of_one_is_a_500_and_the_end(tmp_path: Path, route: bytes) -> None:
    async with serving(tmp_path) as path:
        answer = await ask(path, b"GET " + route + b" " + HEAD + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"connection: close" in answer


async def test_what_comes_in_parts_is_sent_as_it_comes(tmp_path: Path) -> None:
    made = app()
    async with serving(tmp_path, made) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /dripping " + HEAD + CLOSE + b"\r\n")
        began = await asyncio.wait_for(reader.readuntil(b"first\r\n"), 5)
        assert b"transfer-encoding: chunked" in began
        made.state.go_on.set()
        assert await asyncio.wait_for(reader.read(), 5) == b"6\r\nsecond\r\n0\r\n\r\n"
        writer.close()


async def test_who_waits_to_be_told_to_send_its_body_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"POST /echo " + HEAD + CLOSE + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"\r\n\r\nbody")
        writer.close()


@pytest.mark.parametrize("pieces", [1, 3, 700])
async def test_a_body_arrives_whole_in_however_many_pieces(tmp_path: Path, pieces: int) -> None:
    body = b"0123456789" * 700
    size = -(-len(body) // pieces)
    async with serving(tmp_path) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"POST /echo " + HEAD + CLOSE + b"Content-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), size):
            writer.write(body[start : start + size])
            await asyncio.sleep(0)
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"\r\n\r\n" + body)
        writer.close()


def test_a_cycle_has_no_dictionary() -> None:
    """There is one for each request under way."""
    assert not hasattr(Cycle.__new__(Cycle), "__dict__")
