"""The application can see who is at the other end of TLS: our protocol tells it, few servers do."""

import http.client
import json
import ssl
from asyncio import to_thread
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keyborn.adapters.ca import ServiceIdentity, https_context, service_names
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.http.server import HttpServer
from support.csr_make import make_csr
from support.office import OfficeWorld, folder


async def who(request: Request) -> Response:
    return JSONResponse(request.scope["extensions"]["tls"]["client_cert_chain"])


class Stage:
    """A server of one route, and the world that its certificates come from."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = folder(tmp_path)
        self.world = OfficeWorld(self.path)
        self.address = ("", 0)

    async def start(self) -> HttpServer:
        identity = ServiceIdentity(
            self.path / "ca",
            self.world.ca,
            names=service_names(),
            clock=SystemClock(),
            entropy=SystemEntropy(),
        )
        identity.prepare()
        context = https_context(
            identity.server_chain_path, identity.server_key_path, self.world.ca.client_ca_pem()
        )
        server = HttpServer(Starlette(routes=[Route("/", who)]))
        self.address = await server.listen_tls("127.0.0.1", 0, context)
        return server

    async def device(self, name: str) -> tuple[Path, bytes]:
        key, csr = make_csr(name)
        leaf = (await self.world.enroll(name, csr, await self.world.token(name))).certificate.der
        path = self.path / f"{name}.pem"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(pem + ssl.DER_cert_to_PEM_cert(leaf).encode() + self.world.ca.chain_pem().encode())
        return path, leaf

    def ask(self, identity: Path | None) -> list[str]:
        context = ssl.create_default_context(cadata=self.world.ca.roots_pem())
        if identity is not None:
            context.load_cert_chain(identity)
        connection = http.client.HTTPSConnection(*self.address, timeout=10, context=context)
        try:
            connection.request("GET", "/")
            chain: list[str] = json.loads(connection.getresponse().read())
            return chain
        finally:
            connection.close()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    stage.world.clock.turn(SystemClock().now() - stage.world.clock.now())
    server = await stage.start()
    yield stage
    await server.stop(0.2)


async def test_a_device_s_verified_certificate_reaches_the_application(stage: Stage) -> None:
    identity, leaf = await stage.device("peer-1")
    chain = await to_thread(stage.ask, identity)
    assert [x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER) for pem in chain] == [
        leaf
    ]


async def test_a_client_without_one_is_served_and_seen_as_nobody(stage: Stage) -> None:
    assert await to_thread(stage.ask, None) == []


async def test_a_certificate_of_another_authority_ends_the_handshake(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Stage(tmp_path / "other")
    other.world.clock.turn(SystemClock().now() - other.world.clock.now())
    identity, _ = await other.device("peer-2")
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        await to_thread(stage.ask, identity)
