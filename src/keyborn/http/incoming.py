"""A request as the devices' routes see it: ASGI's scope and body, and nothing made of them in advance."""

from typing import Any, Protocol

from starlette.types import Receive, Scope


class Asks(Protocol):
    """What guards read of a request: one of ours, or one of Starlette's."""

    @property
    def scope(self) -> Any:  # noqa: ANN401 - Starlette's MutableMapping of Any
        """ASGI's description of it."""

    @property
    def receive(self) -> Receive:
        """What brings its body."""


class Incoming:
    """One request of a device. Header names are lower-case, as ASGI has them."""

    __slots__ = ("receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive


def header(request: Asks, name: bytes) -> list[str]:
    """Every value of a header, in the order they came."""
    return [value.decode("latin-1") for key, value in request.scope["headers"] if key == name]


def source_of(request: Asks) -> str:
    """The network address of the caller; empty where it has none, as on a Unix socket."""
    client = request.scope.get("client")
    return client[0] if client else ""
