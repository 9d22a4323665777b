"""Listeners: an ASGI application behind our protocol, on a TCP port with TLS or on a Unix socket."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.types import ASGIApp

from keyborn.domain.errors import InvalidSetting
from keyborn.http.connections import Connections
from keyborn.http.doorway import BACKLOG, Doorway, bound
from keyborn.http.protocol import GuardedProtocol, HttpLimits

_TLS_READ = 16 * 1024
"""Bytes: what one record of TLS holds (RFC 8446, 5.1)."""

Around = Callable[[ASGIApp], ASGIApp]
_NOT_LOOPBACK = "it leads to an address that is not of this machine alone"


class HttpServer:
    """Serves one ASGI application on one or more listeners, and drains cleanly."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: HttpLimits | None = None,
        around: Around | None = None,
        count: Callable[[], None] | None = None,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """``around``: what each request passes before it comes to ``app``.

        ``count`` is called for each answer. ``crowded``: whether requests stand in line, so that hardly
        anybody else is let in over TLS.
        """
        self._app = app if around is None else around(app)
        self._limits = limits = limits or HttpLimits()
        self._crowded = crowded
        if isinstance(app, Starlette):
            app.router.redirect_slashes = False  # it would send a caller where its own Host header says
        self._connections = Connections(min(limits.headers, limits.body, limits.idle, limits.linger), count)
        self._listeners: list[asyncio.Server] = []
        self.doorways: list[Doorway] = []
        """Of the addresses with TLS."""
        self._clock: asyncio.Task[None] | None = None

    async def listen_tls(self, host: str, port: int, context: ssl.SSLContext) -> tuple[str, int]:
        """Serve HTTPS; returns the bound address (port 0 picks a free one). Raises OSError."""
        _read_less_at_once()
        sockets = await bound(host, port)
        for sock in sockets:
            self.doorways.append(self._doorway(sock, context))
        self._keep_time()
        address = sockets[0].getsockname()
        return address[0], address[1]

    async def listen_plain(self, host: str, port: int) -> tuple[str, int]:
        """Serve HTTP without TLS, for proxies (``keyborn.http.proxies`` says whom); the bound address."""
        listener = await asyncio.get_running_loop().create_server(
            self._connection, host, port, backlog=BACKLOG
        )
        self._add(listener)
        address = listener.sockets[0].getsockname()
        return address[0], address[1]

    async def listen_loopback(self, host: str, port: int) -> tuple[str, int]:
        """Serve plain HTTP to this machine alone; returns the bound address.

        Raises InvalidSetting, before anybody can connect, for an address that others could reach.
        """
        listener = await asyncio.get_running_loop().create_server(
            self._connection, host, port, backlog=BACKLOG, start_serving=False
        )
        addresses = [each.getsockname() for each in listener.sockets]
        if not all(ipaddress.ip_address(each[0]).is_loopback for each in addresses):
            listener.close()
            raise InvalidSetting(setting="metrics", detail=_NOT_LOOPBACK)
        await listener.start_serving()
        self._add(listener)
        return addresses[0][0], addresses[0][1]

    def readings(self) -> dict[str, dict[str, float]]:
        """The listener's figures, as ``service.figures.Readings``."""
        numbers = {
            "connections": len(self._connections.open),
            "connections_accepted_total": self._connections.accepted,
            "handshakes_total": self._connections.made,
            "requests_total": self._connections.requests,
        }
        return {f"keyborn_http_{name}": {"": number} for name, number in numbers.items()}

    def listen_shared(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """Serve HTTPS on a listening socket that other processes have, too."""
        _read_less_at_once()
        sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self.doorways.append(self._doorway(sock, context, shared=True))
        self._keep_time()

    async def listen_shared_plain(self, sock: socket.socket) -> None:
        """Serve HTTP without TLS, for proxies, on a listening socket that other processes have, too.

        asyncio takes as many connections in a row as the backlog that it is told, and tells the kernel of
        that number, which is told the right one again.
        """
        loop = asyncio.get_running_loop()
        make = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        listener = await make(self._connection, sock=sock, backlog=1)
        sock.listen(BACKLOG)
        self._add(listener)

    @property
    def requests(self) -> int:
        """How many requests have been answered."""
        return self._connections.requests

    async def listen_unix(self, sock: socket.socket) -> None:
        """Serve plain HTTP on a bound socket (the control socket of the data folder)."""
        self._add(
            await asyncio.get_running_loop().create_unix_server(self._connection, sock=sock, backlog=BACKLOG)
        )

    async def stop(self, grace: float = 5.0) -> None:
        """Stop accepting, let answers under way finish for ``grace`` seconds, close the rest.

        Each answer from here on says that it is its connection's last.
        """
        connections = self._connections
        connections.state["stopping"] = True
        for listener in self._listeners:
            listener.close()
        for doorway in self.doorways:
            doorway.close()
        for _ in range(2):  # what has arrived is read, and begins
            await asyncio.sleep(0)
        for connection in list(connections.open):
            connection.shut()
        if connections.tasks:
            await asyncio.wait(connections.tasks, timeout=grace)
        for connection in list(connections.open):
            connection.abort()
        await asyncio.sleep(0)  # whoever listens on one of them hears of it, before
        for task in list(connections.tasks):
            task.cancel()
        if self._clock:
            self._clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clock

    def _add(self, listener: asyncio.Server) -> None:
        self._listeners.append(listener)
        self._keep_time()

    def _keep_time(self) -> None:
        self._clock = self._clock or asyncio.create_task(self._connections.keep_time(self._sweep))

    def _sweep(self, now: float) -> None:
        for doorway in self.doorways:
            doorway.sweep(now)

    def _doorway(self, sock: socket.socket, context: ssl.SSLContext, *, shared: bool = False) -> Doorway:
        crowded = self._crowded
        return Doorway(sock, context, self._limits, self._connection, shared=shared, crowded=crowded)

    def _connection(self) -> GuardedProtocol:
        self._connections.accepted += 1
        return GuardedProtocol(self._app, self._limits, self._connections)


def _read_less_at_once() -> None:
    """Read one record at a time. asyncio keeps a buffer of 256 KiB for each connection with TLS.

    It asks OpenSSL for as much each time, too. The class's own attribute is the only way to say otherwise
    (CPython's Lib/asyncio/sslproto.py, ``max_size``); where there is none, things stay as they are.
    """
    if getattr(sslproto.SSLProtocol, "max_size", 0) > _TLS_READ:
        sslproto.SSLProtocol.max_size = _TLS_READ
