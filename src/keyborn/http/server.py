"""Listeners: the application behind uvicorn's protocol, on a TCP port with TLS or on a Unix socket."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import ClassVar

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from keyborn.domain.errors import InvalidSetting
from keyborn.http.protocol import GuardedProtocol, HttpLimits

_BACKLOG = 4096
_log = logging.getLogger("keyborn.http")


Around = Callable[[ASGIApp], ASGIApp]
_NOT_LOOPBACK = "it leads to an address that is not of this machine alone"


@dataclass(slots=True)
class Tally:
    """Connections since the start."""

    accepted: int = 0
    made: int = 0
    """Those whose handshake was finished, where there is one."""


class _TalliedProtocol(GuardedProtocol):
    tally: ClassVar[Tally] = Tally()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """The handshake, where there is one, is done."""
        self.tally.made += 1
        super().connection_made(transport)


class HttpServer:
    """Serves one ASGI application on one or more listeners, and drains cleanly."""

    def __init__(
        self, app: Starlette, *, limits: HttpLimits | None = None, around: Around | None = None
    ) -> None:
        """``around``: what each request passes before it comes to ``app``."""
        self._limits = limits or HttpLimits()
        app.router.redirect_slashes = False  # it would send a caller where its own Host header says
        self._tally = Tally()
        members = {"limits": self._limits, "tally": self._tally}
        self._protocol = type("BoundProtocol", (_TalliedProtocol,), members)
        self._config = Config(
            _contained(app if around is None else around(app)),
            http=self._protocol,
            ws="none",  # a library that happens to be installed must not take connections out of our limits
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(self._limits.idle) + 1,
        )
        self._state = ServerState()
        self._listeners: list[asyncio.Server] = []
        self._dater: asyncio.Task[None] | None = None

    async def listen_tls(self, host: str, port: int, context: ssl.SSLContext) -> tuple[str, int]:
        """Serve HTTPS; returns the bound address (port 0 picks a free one)."""
        listener = await asyncio.get_running_loop().create_server(
            self._connection,
            host,
            port,
            ssl=context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=self._limits.handshake,
            ssl_shutdown_timeout=self._limits.handshake,
        )
        self._add(listener)
        bound = listener.sockets[0].getsockname()
        return bound[0], bound[1]

    async def listen_loopback(self, host: str, port: int) -> tuple[str, int]:
        """Serve plain HTTP to this machine alone; returns the bound address.

        Raises InvalidSetting, before anybody can connect, for an address that others could reach.
        """
        listener = await asyncio.get_running_loop().create_server(
            self._connection, host, port, backlog=_BACKLOG, start_serving=False
        )
        bound = [each.getsockname() for each in listener.sockets]
        if not all(ipaddress.ip_address(each[0]).is_loopback for each in bound):
            listener.close()
            raise InvalidSetting(setting="metrics", detail=_NOT_LOOPBACK)
        await listener.start_serving()
        self._add(listener)
        return bound[0][0], bound[0][1]

    def readings(self) -> dict[str, dict[str, float]]:
        """The listener's figures, as ``service.figures.Readings``."""
        numbers = {
            "connections": len(self._state.connections),
            "connections_accepted_total": self._tally.accepted,
            "handshakes_total": self._tally.made,
            "requests_total": self._state.total_requests,
        }
        return {f"keyborn_http_{name}": {"": number} for name, number in numbers.items()}

    @property
    def requests(self) -> int:
        """How many requests have been answered."""
        return self._state.total_requests

    async def listen_unix(self, sock: socket.socket) -> None:
        """Serve plain HTTP on a bound socket (the control socket of the data folder)."""
        self._add(
            await asyncio.get_running_loop().create_unix_server(self._connection, sock=sock, backlog=_BACKLOG)
        )

    async def stop(self, grace: float = 5.0) -> None:
        """Stop accepting, let answers under way finish for ``grace`` seconds, close the rest."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=grace)
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # whoever listens on one of them hears of it, before
        for task in list(self._state.tasks):
            task.cancel()
        if self._dater:
            self._dater.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._dater

    def _add(self, listener: asyncio.Server) -> None:
        self._listeners.append(listener)
        self._dater = self._dater or asyncio.create_task(self._keep_date())

    def _connection(self) -> GuardedProtocol:
        self._tally.accepted += 1
        connection: GuardedProtocol = self._protocol(
            config=self._config, server_state=self._state, app_state={}
        )
        return connection

    async def _keep_date(self) -> None:
        """The Date header, made once a second."""
        while True:
            self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            await asyncio.sleep(1)


def _contained(app: ASGIApp) -> ASGIApp:
    """``app``, whose faults end here: Starlette answers and logs one, then raises it again.

    uvicorn would log it a second time, with the message, which may hold what the caller sent.
    """

    async def _serve(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except (Exception, asyncio.CancelledError) as fault:  # noqa: BLE001 - problems.on_fault has logged it
            _log.debug("a request ended with %s", type(fault).__name__)

    return _serve


def quiet_uvicorn() -> None:
    """Hostile bytes are everyday: uvicorn's own warnings about them stay out of the log."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
