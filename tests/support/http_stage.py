"""An application behind our HTTP protocol, on a Unix socket."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette

from keyborn.http.protocol import HttpLimits
from keyborn.http.server import HttpServer


@asynccontextmanager
async def listening(app: Starlette, folder: Path, limits: HttpLimits | None = None) -> AsyncIterator[Path]:
    """Serve ``app`` for the duration of a test; the path of its socket."""
    path = folder / "s"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    server = HttpServer(app, limits=limits)
    await server.listen_unix(sock)
    try:
        yield path
    finally:
        await server.stop(0.1)
