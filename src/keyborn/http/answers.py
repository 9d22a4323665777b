"""Small things that the operator's routes share: pages asked for, JSON answered."""

from datetime import timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from keyborn.domain.errors import InvalidSetting
from keyborn.ports import MAX_PAGE


def answer_json(data: object, status: int = 200) -> Response:
    """A JSON response."""
    return Response(msgspec.json.encode(data), status, media_type="application/json")


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
