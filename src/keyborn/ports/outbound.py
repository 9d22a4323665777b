"""How the service asks others: one HTTPS request to an address that an operator configured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """What is asked, and within what limits."""

    method: str
    url: str
    """``https://host[:port]/path[?query]``; of an operator's text, or of what such an address said."""
    seconds: float
    """For all of it: looking the name up, connecting, sending, and the whole answer."""
    most: int
    """Bytes of the answer's body."""
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    roots_pem: str | None = field(default=None, repr=False)
    """Roots that are believed, and no others; None: the public ones of this machine."""
    public_only: bool = False
    """Whether an address inside somebody's network is refused, before anything is sent to it."""


@dataclass(frozen=True, slots=True)
class OutboundAnswer:
    """What came back, whole. A redirect is an answer like any other."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By name in lower case."""


class NotAnswered(Exception):
    """No whole answer came within the limits, or not from whom it should; ``str()`` says why, briefly."""


class Outbound(Protocol):
    """The way out."""

    async def fetch(self, request: OutboundRequest) -> OutboundAnswer:
        """Ask once: nothing is repeated, no redirect followed, no proxy asked. Raises NotAnswered."""
        ...
