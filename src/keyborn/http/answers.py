"""Small things that the operator's routes share: pages asked for, JSON answered."""

from datetime import timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from keyborn.domain.errors import InvalidSetting
from keyborn.ports import MAX_PAGE


class JsonAnswer(Response):
    """A finished JSON body with the two headers that it needs, and nothing else of what Starlette can do."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.status_code, self.body, self.background = status, body, None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """ASGI: head and body."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def answer_json(data: object, status: int = 200) -> Response:
    """A JSON response."""
    return JsonAnswer(msgspec.json.encode(data), status)


def page_limit(request: Request) -> int:
    """How many entries the caller wants, at least one; raises InvalidSetting."""
    return max(1, min(MAX_PAGE, read_number(request.query_params.get("limit", "100"), "limit")))


def page_after(request: Request) -> str | None:
    """Where the page begins, or None."""
    return request.query_params.get("after") or None


def read_number(text: str, name: str) -> int:
    """A number of the query; raises InvalidSetting."""
    if not text.isascii() or not text.isdigit():
        raise InvalidSetting(setting=name, detail="it takes a number")
    return int(text[:18])


def span_of(seconds: int) -> timedelta:
    """So many seconds, however many; who gets it has limits of its own."""
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        return timedelta.max if seconds > 0 else timedelta.min
