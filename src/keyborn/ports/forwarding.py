"""Requests that one process took in and another one answers: their values, and the port between the two."""

from dataclasses import dataclass
from typing import Protocol

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class ForwardedCall:
    """The head of a request, as ASGI has it (its 2.3, "HTTP Connection Scope"); the body is asked for."""

    method: str
    path: str
    raw_path: bytes
    query_string: bytes
    headers: Headers
    client: tuple[str, int] | None
    """Where it came from, as the transport or a trusted proxy knows it: never what a caller's header says."""
    server: tuple[str, int | None] | None
    proxied: bool = False
    """Whether a trusted proxy passed it on."""
    request_id: str = ""
    """Under which logs know it; empty where it has none."""


@dataclass(frozen=True, slots=True)
class ForwardedStep:
    """How far an answer has come."""

    stream: int
    """By which the next step is asked for."""
    status: int | None = None
    """Where the answer begins with this step."""
    headers: Headers = ()
    body: bytes = b""
    more: bool = False
    """Whether the answer goes on."""
    wants_body: bool = False
    """Whether it goes on once the next part of the request's body is there."""


class ForwardingDesk(Protocol):
    """Answers requests step by step: each step is asked for, so that nobody is sent more than is read."""

    async def open(self, call: ForwardedCall) -> ForwardedStep:
        """Begin; raises Overloaded where too many are under way."""
        ...

    async def go_on(self, stream: int, body: bytes, *, more: bool) -> ForwardedStep:
        """The next step; with the next part of the request's body, where that was wanted."""
        ...

    async def close(self, stream: int) -> None:
        """Nobody waits for the rest. Repeating is harmless."""
        ...
