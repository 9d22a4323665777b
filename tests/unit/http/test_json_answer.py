"""Our own small answer says what Starlette's says."""

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from keyborn.http.answers import JsonAnswer

SCOPE = {"type": "http", "method": "POST", "path": "/", "headers": []}


async def said(response: Response) -> list[Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(dict(message))

    await response(SCOPE, Request(SCOPE).receive, send)
    return messages


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("body", [b"{}", b'{"name":"\xc3\xa9"}', b"[" + b"1," * 9999 + b"1]"])
async def test_head_and_body_are_starlettes(body: bytes, status: int) -> None:
    theirs = Response(body, status, media_type="application/json")
    assert await said(JsonAnswer(body, status)) == await said(theirs)


async def test_headers_can_be_added() -> None:
    answer = JsonAnswer(b"{}")
    answer.headers["Replay-Nonce"] = "n"
    (head, _) = await said(answer)
    assert (b"replay-nonce", b"n") in head["headers"]
