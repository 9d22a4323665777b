"""Listeners: the application behind uvicorn's protocol, on a TCP port with TLS or on a Unix socket."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from email.utils import formatdate

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from keyborn.http.protocol import GuardedProtocol, HttpLimits

_BACKLOG = 4096
_log = logging.getLogger("keyborn.http")


class HttpServer:
    """Serves one ASGI application on one or more listeners, and drains cleanly."""

    def __init__(
        self, app: Starlette, *, limits: HttpLimits | None = None, count: Callable[[], None] | None = None
    ) -> None:
        """``count`` is called once for each answer."""
        self._limits = limits or HttpLimits()
        app.router.redirect_slashes = False  # it would send a caller where its own Host header says
        bounds = {"limits": self._limits, "counted": staticmethod(count or _nothing)}
        self._protocol = type("BoundProtocol", (GuardedProtocol,), bounds)
        self._config = Config(
            _contained(app),
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

    async def listen_shared(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """Serve HTTPS on a listening socket that other processes have, too.

        One connection is taken at each turn of the loop, so that the others get theirs: asyncio takes as many
        as the backlog has. It also tells the kernel of that number, which is told the right one again.
        """
        listener = await asyncio.get_running_loop().create_server(
            self._connection,
            sock=sock,
            ssl=context,
            backlog=1,
            ssl_handshake_timeout=self._limits.handshake,
            ssl_shutdown_timeout=self._limits.handshake,
        )
        sock.listen(_BACKLOG)
        self._add(listener)

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
        connection: GuardedProtocol = self._protocol(
            config=self._config, server_state=self._state, app_state={}
        )
        return connection

    async def _keep_date(self) -> None:
        """The Date header, made once a second."""
        while True:
            self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            await asyncio.sleep(1)


def _nothing() -> None:
    """Nobody counts."""


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
