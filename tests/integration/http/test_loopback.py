"""A listener for this machine alone refuses, before anybody can connect, to be anything else."""

import socket

import pytest
from starlette.applications import Starlette

from keyborn.domain.errors import InvalidSetting
from keyborn.http.server import HttpServer


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_an_address_that_others_reach_is_refused_and_nothing_listens(host: str) -> None:
    server, port = HttpServer(Starlette()), free_port()
    with pytest.raises(InvalidSetting):
        await server.listen_loopback(host, port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    await server.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
async def test_loopback_is_served_by_any_of_its_names(host: str) -> None:
    server = HttpServer(Starlette())
    bound, port = await server.listen_loopback(host, free_port())
    socket.create_connection((bound, port), timeout=5).close()
    await server.stop()
