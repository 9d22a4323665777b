"""Heads that a proxy in front may read otherwise: refused whole, and what follows them is never a request."""

import asyncio
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from support.http_stage import listening

HOST = b"Host: here\r\n"
SECOND = b"GET /second HTTP/1.1\r\nHost: here\r\n\r\n"
CHUNKS = b"\r\n2\r\nab\r\n0\r\n\r\n"


def post(*lines: bytes, body: bytes, version: bytes = b"1.1") -> bytes:
    return b"POST /first HTTP/" + version + b"\r\n" + HOST + b"".join(each + b"\r\n" for each in lines) + body


REFUSED = {
    "no host": b"GET /first HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /first HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "a host that is none": b"GET /first HTTP/1.1\r\nHost: here/@elsewhere\r\n\r\n",
    "a host with a user": b"GET /first HTTP/1.1\r\nHost: me@here\r\n\r\n",
    "HTTP/0.9": b"GET /first\r\n\r\n",
    "HTTP/2 in words of HTTP/1": b"GET /first HTTP/2.0\r\n" + HOST + b"\r\n",
    "a coding before chunked": post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
    "identity, then chunked": post(
        b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", body=CHUNKS
    ),
    "chunked twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=CHUNKS),
    "chunked behind a vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=CHUNKS),
    "chunks of HTTP/1.0": post(b"Transfer-Encoding: chunked", body=CHUNKS, version=b"1.0"),
    "chunks beside a length": post(b"Content-Length: 2", b"Transfer-Encoding: chunked", body=CHUNKS),
    "a length beside chunks": post(b"Transfer-Encoding: chunked", b"Content-Length: 2", body=CHUNKS),
    "two lengths": post(b"Content-Length: 2", b"Content-Length: 2", body=b"\r\nab"),
    "lengths in a list": post(b"Content-Length: 2, 2", body=b"\r\nab"),
    "a signed length": post(b"Content-Length: +2", body=b"\r\nab"),
    "an empty length": post(b"Content-Length:", body=b"\r\n"),
    "a space before the colon": post(b"Content-Length : 2", body=b"\r\nab"),
    "a folded line": post(b"X-A: one\r\n two", body=b"\r\n"),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked", body=CHUNKS),
    "bare line feeds": b"GET /first HTTP/1.1\nHost: here\n\n",
    "a bare carriage return": post(b"X-A: b\rContent-Length: 2", body=b"\r\nab"),
    "a line feed at the end of the head": b"GET /first HTTP/1.1\r\n" + HOST + b"\n",
    "NUL in a header": post(b"X-A: b\0c", body=b"\r\n"),
    "a line feed behind an extension": post(b"Transfer-Encoding: chunked", body=b"\r\n2;a\nab\r\n0\r\n\r\n"),
    "a size with 0x": post(b"Transfer-Encoding: chunked", body=b"\r\n0x2\r\nab\r\n0\r\n\r\n"),
    "a size beyond 64 bits": post(
        b"Transfer-Encoding: chunked", body=b"\r\n10000000000000002\r\nab\r\n0\r\n\r\n"
    ),
    "another scheme": b"GET ftp://here/first HTTP/1.1\r\n" + HOST + b"\r\n",
    "a URL with a user": b"GET http://me@here/first HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT here:443 HTTP/1.1\r\nHost: here:443\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
"""Requests that must be answered with 400, or not at all, and end the connection."""


async def heard(tmp_path: Path, sent: bytes) -> tuple[list[str], bytes]:
    """What the application was asked for, by host and path, and what came back until the connection ended."""
    asked: list[str] = []

    async def answer(request: Request) -> Response:
        body = (await request.body()).decode()
        asked.append(f"{request.headers.get('host')}{request.url.path} {body}".rstrip())
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST"])])
    async with listening(app, tmp_path) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(sent)
        try:
            answered = await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()
    return asked, answered


@pytest.mark.parametrize("name", REFUSED)
async def test_what_two_readers_may_take_for_different_requests_is_none(name: str, tmp_path: Path) -> None:
    asked, answered = await heard(tmp_path, REFUSED[name] + SECOND)
    assert "here/second" not in asked
    assert asked in ([], ["here/first"])  # a body that turns out bad comes after its head
    assert answered.startswith(b"HTTP/1.1 400 ") or not answered
    assert answered.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (
            b"GET http://there:81/first HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            "there:81/first",
        ),
        (b"GET http://[::1]/first HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "[::1]/first"),
        (b"GET /first HTTP/1.1\r\nHost: [::1]:8443\r\nConnection: close\r\n\r\n", "[::1]:8443/first"),
        (b"GET /first HTTP/1.0\r\n\r\n", "None/first"),
        (post(b"Transfer-Encoding: Chunked", b"Connection: close", body=CHUNKS), "here/first ab"),
        (post(b"Transfer-Encoding:\tchunked", b"Connection: close", body=CHUNKS), "here/first ab"),
    ],
)
async def test_what_everybody_reads_alike_is_answered(sent: bytes, expected: str, tmp_path: Path) -> None:
    asked, answered = await heard(tmp_path, sent)
    assert asked == [expected]
    assert answered.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "coding", [b"Content-Length: 2\r\n\r\nab", b"Transfer-Encoding: chunked\r\n" + CHUNKS]
)
async def test_behind_an_upgrade_that_nobody_makes_there_is_no_request(coding: bytes, tmp_path: Path) -> None:
    head = b"POST /first HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    asked, answered = await heard(tmp_path, head + coding + SECOND)
    assert len(asked) <= 1
    assert "second" not in "".join(asked)
    assert answered.count(b"HTTP/1.1 ") == 1
