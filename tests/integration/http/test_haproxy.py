"""HAProxy in front, with the very configuration of docs/how-to/behind-a-proxy.md."""

import http.client
import json
import socket
import ssl
from asyncio import to_thread
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keyborn.adapters.ca import ServiceIdentity, ShownCertificates, service_names
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.http.guards import credential
from keyborn.http.proxies import BehindProxies, Proxies
from keyborn.http.server import HttpServer
from keyborn.wiring.plain import listen_plain
from support.csr_make import csr_for
from support.device import enroll, keyborn, keyborn_json
from support.haproxy import PEM, ROOT, SOCKET, documented_elsewhere, free_port, haproxy
from support.office import OfficeWorld, folder
from support.pki import Leaf, new_pki
from support.server import Server

pytestmark = pytest.mark.needs("haproxy")
SPOOFED = {
    "Client-Cert": ":c3Bvb2ZlZA==:",
    "Client-Cert-Chain": ":c3Bvb2ZlZA==:",
    "X-Forwarded-For": "203.0.113.9",
    "Forwarded": "for=203.0.113.9",
}


# ── the whole service ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``keyborn serve`` behind HAProxy; ``address`` is the proxy's."""
    place = tmp_path_factory.mktemp("p")
    port = free_port()
    data, sock = place / "data", place / "http.sock"
    data.mkdir(mode=0o700)
    (data / "server.toml").write_text(
        f'plain_http = "unix:{sock}"\nnames = ["devices.example", "127.0.0.1"]\n'
        f'url = "https://127.0.0.1:{port}"\n'
    )
    server = Server(data, place / "server.log").start()
    try:
        keyborn("ca", "export", "--out", place / "root.pem", "--data", data)
        places = {PEM: data / "ca" / "service.pem", ROOT: place / "root.pem", SOCKET: sock}
        with haproxy(place, port, places):
            yield server
    finally:
        server.stop()
        assert not sock.exists()


def test_a_device_enrols_through_it_and_renews(served: Server, tmp_path: Path) -> None:
    code = keyborn("token", "create", "--thing", "lamp-1", "--data", served.data).stdout.splitlines()[-1]
    home = tmp_path / "home"
    assert enroll(home, code, "lamp-1")["obtained"]
    first = served.active("lamp-1")
    assert keyborn_json("renew", "--now", "--home", home)
    assert served.active("lamp-1")[0]["certificateId"] != first[0]["certificateId"]
    events = keyborn_json("audit", "show", "--data", served.data)
    sources = {row["source"] for row in events if row["action"] in {"enroll", "renew"}}
    assert sources == {"127.0.0.1"}, "the caller's address, of which only X-Forwarded-For tells"


def test_an_operator_elsewhere_comes_through_it(served: Server, tmp_path: Path) -> None:
    keyborn(
        "api-key",
        "create",
        "--name",
        "ops",
        "--role",
        "viewer",
        "--out",
        tmp_path / "k",
        "--data",
        served.data,
    )
    assert keyborn_json("thing", "list", "--api-key-file", tmp_path / "k") is not None


def test_what_a_caller_says_of_itself_does_not_arrive(served: Server) -> None:
    answer = served.request("POST", "/v1/enroll", b"{}", SPOOFED)
    assert (answer.status, answer.json["code"]) == (401, "credential_missing")
    events = keyborn_json("audit", "show", "--data", served.data)
    assert "203.0.113.9" not in {row["source"] for row in events}


def test_the_health_checks_are_answered(served: Server) -> None:
    assert served.request("GET", "/readyz").status == 200


def test_a_proxy_on_another_machine_speaks_tls_to_the_service(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place, port = tmp_path_factory.mktemp("p"), free_port()
    data = place / "data"
    data.mkdir(mode=0o700)
    (data / "server.toml").write_text('names = ["devices.example", "127.0.0.1"]\n')
    server = Server(data, place / "server.log", ("--trusted-proxy", "127.0.0.1")).start()
    try:
        keyborn("ca", "export", "--out", place / "root.pem", "--data", data)
        places = {PEM: data / "ca" / "service.pem", ROOT: place / "root.pem"}
        text = documented_elsewhere().replace("192.0.2.10:8443", server.about["https"])
        with haproxy(place, port, places, text):
            connection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=10, context=server.context(), source_address=("127.0.0.2", 0)
            )
            headers = {**SPOOFED, "Authorization": "Bearer nothing"}
            connection.request("POST", "/v1/enroll", b"{}", headers)
            assert connection.getresponse().status == 401
            connection.close()
        events = keyborn_json("audit", "show", "--data", data)
        assert {row["source"] for row in events if row["source"]} == {"127.0.0.2"}
    finally:
        server.stop()


# ── what the application is told ──────────────────────────────────────────────────────────────────────


async def who(request: Request) -> Response:
    chain = request.scope["extensions"]["tls"]["client_cert_chain"]
    names = sorted(set(request.headers) & {name.lower() for name in SPOOFED})
    return JSONResponse({"chain": chain, "source": credential(request).source, "names": names})


async def ready(_request: Request) -> Response:
    return Response()


class Stage:
    """An application of one route behind HAProxy, and the world that its certificates come from."""

    def __init__(self, path: Path) -> None:
        self.path = folder(path)
        self.world = OfficeWorld(self.path)
        self.world.clock.turn(SystemClock().now() - self.world.clock.now())
        self.port = free_port()

    async def start(self, stack: AsyncExitStack) -> None:
        identity = ServiceIdentity(
            self.path / "ca",
            self.world.ca,
            names=service_names(),
            clock=SystemClock(),
            entropy=SystemEntropy(),
        )
        identity.prepare()
        app = Starlette(routes=[Route("/", who), Route("/readyz", ready)])
        verify = ShownCertificates(self.world.ca.client_ca_pem, self.world.clock).verify
        server = HttpServer(app, around=lambda app: BehindProxies(app, Proxies(socket=True), verify))
        stack.push_async_callback(server.stop, 0.2)
        await listen_plain(server, self.path / "s")
        (self.path / "root.pem").write_text(self.world.ca.roots_pem())
        places = {PEM: identity.server_chain_path, ROOT: self.path / "root.pem", SOCKET: self.path / "s"}
        stack.enter_context(await to_thread(lambda: haproxy(self.path, self.port, places)))

    async def device(self, name: str) -> Leaf:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = (await self.world.enroll(name, csr_for(key, name), await self.world.token(name))).certificate
        return Leaf(x509.load_der_x509_certificate(leaf.der), key)

    def ask(self, shown: Leaf | None = None, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        context = ssl.create_default_context(cadata=self.world.ca.roots_pem())
        if shown is not None:
            context.load_cert_chain(*shown.write(self.path, "shown"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        try:
            connection.request("GET", "/", headers=dict(headers or {}))
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()


@pytest.fixture
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("p"))
    async with AsyncExitStack() as stack:
        await stage.start(stack)
        yield stage


async def test_a_device_s_certificate_arrives_as_if_there_were_no_proxy(stage: Stage) -> None:
    device = await stage.device("lamp")
    seen = await to_thread(stage.ask, device)
    assert [ssl.PEM_cert_to_DER_cert(pem) for pem in seen["chain"]] == [device.der]
    assert seen["source"] == "127.0.0.1"


async def test_a_client_without_one_is_nobody_whatever_its_headers(stage: Stage) -> None:
    of_another = f":{b64encode((await stage.device('lamp')).der).decode()}:"
    seen = await to_thread(stage.ask, None, SPOOFED | {"Client-Cert": of_another})
    assert (seen["chain"], seen["source"]) == ([], "127.0.0.1")
    assert "client-cert" not in seen["names"]
    assert "client-cert-chain" not in seen["names"]


async def test_nobody_exchanges_his_certificate_by_a_header(stage: Stage) -> None:
    own, other = await stage.device("lamp"), await stage.device("fan")
    of_another = f":{b64encode(other.der).decode()}:"
    seen = await to_thread(stage.ask, own, {"Client-Cert": of_another})
    assert [ssl.PEM_cert_to_DER_cert(pem) for pem in seen["chain"]] == [own.der]


async def test_what_the_proxy_lets_through_is_judged_here(stage: Stage) -> None:
    device = await stage.device("lamp")
    refused = await to_thread(stage.ask, new_pki().devices.leaf("lamp"))
    assert refused["code"] == "client_certificate_refused"
    stage.world.clock.turn(timedelta(days=91))
    assert (await to_thread(stage.ask, device))["code"] == "client_certificate_refused"


def twice(stage: Stage, shown: Leaf) -> list[dict[str, Any]]:
    """Two connections, of which the second resumes the first."""
    context = ssl.create_default_context(cadata=stage.world.ca.roots_pem())
    context.load_cert_chain(*shown.write(stage.path, "shown"))
    answers: list[dict[str, Any]] = []
    session = None
    for _ in range(2):
        plain = socket.create_connection(("127.0.0.1", stage.port), timeout=10)
        with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = http.client.HTTPResponse(tls)
            answer.begin()
            answers.append(json.loads(answer.read()))
            assert tls.session_reused is bool(session)
            session = tls.session
    return answers


async def test_a_resumed_connection_shows_the_certificate_of_the_first(stage: Stage) -> None:
    first, second = await to_thread(twice, stage, await stage.device("lamp"))
    assert len(first["chain"]) == 1
    assert first == second
