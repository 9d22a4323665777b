"""The edge on a server of one's own and the one on AWS: what devices are answered does not depend on it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.http.app import Service, build_app
from keyborn.http.bodies import BrokerAddress
from keyborn.http.guards import MAX_BODY
from keyborn.http.lambda_handler import LambdaHandler
from keyborn.service.nonces import MemoryNonces
from support.lambda_events import Context, event
from support.office import OfficeWorld
from support.server import Server

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
DOORS = ["/v1/enroll", "/getCertificate", "/v1/trust-bundle", "/healthz", "/readyz", "/openapi.json"]
ELSEWHERE = [
    "/",
    "/nope",
    "/healthz/",
    "//healthz",
    "/%68ealthz",
    "/healthz%2f",
    "/healthz%00",
    "/healthz%0a",
    "/%ff",
    "/%zz",
]
ELSEWHERE += ["/v1/enroll/..", "/HEALTHZ", "/healthz;a=b", "/v1/", "/healthz?a=%ff"]
SENT: list[tuple[dict[str, str], bytes]] = [
    ({}, b""),
    ({}, b"{}"),
    ({}, b"\xff"),
    ({}, b"x" * MAX_BODY),
    ({}, b"x" * (MAX_BODY + 1)),
    ({"authorization": ""}, b"{}"),
    ({"authorization": "Basic x"}, b"{}"),
    ({"authorization": "Bearer"}, b"{}"),
    ({"authorization": "bearer \xe9"}, b"{}"),
    ({"content-type": "application/jose+json"}, b""),
    ({"content-type": "application/jose+json; charset=utf-8"}, b"{}"),
    ({"content-type": "application/jose+json"}, b"x" * (MAX_BODY + 1)),
]
OF_THE_CONNECTION = {"connection", "content-length", "date", "server", "x-request-id"}
Told = tuple[int, dict[str, str], Any]


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LambdaHandler]:
    world = OfficeWorld(tmp_path_factory.mktemp("function"))
    address = BrokerAddress("broker.example", 8883, "certtest", world.ca.roots_pem, world.ca.chain_pem)
    nonces = MemoryNonces(SystemClock(), SystemEntropy())
    handler = LambdaHandler(build_app(Service(world.authority, address, ready, nonces=nonces)))
    yield handler
    handler.close()


async def ready() -> None:
    """Always."""


def told(status: int, headers: Mapping[str, str], body: bytes | str) -> Told:
    """What the caller reads of an answer; nothing that belongs to one connection, request or moment."""
    kept = {name.lower(): value for name, value in headers.items()}
    kept = {name: value for name, value in kept.items() if name not in OF_THE_CONNECTION}
    if "replay-nonce" in kept:
        kept["replay-nonce"] = "another each time"
    text = body if isinstance(body, str) else body.decode()
    if not kept.get("content-type", "").startswith("application/problem"):
        return status, kept, bool(text)  # a bundle and a description differ with the service
    document = json.loads(text) if text else {}
    document.pop("requestId", None)
    return status, kept, document


def on_lambda(function: LambdaHandler, number: int, sent: dict[str, Any]) -> Told:
    sent["requestContext"]["http"]["sourceIp"] = f"198.51.100.{number}"  # nobody waits for another's failures
    answer = function(sent, Context())
    return told(answer["statusCode"], answer["headers"], answer["body"])


@pytest.mark.parametrize("path", [*DOORS, *ELSEWHERE])
def test_each_method_at_each_path_is_answered_alike(
    server: Server, function: LambdaHandler, path: str
) -> None:
    plain, _, query = path.partition("?")
    for number, method in enumerate(METHODS):
        here = server.request(method, path)
        there = on_lambda(function, number, event(method, plain, query=query))
        assert told(here.status, here.headers, here.body) == there, method


@pytest.mark.parametrize("path", ["/v1/enroll", "/getCertificate"])
def test_each_refusal_reads_alike(server: Server, function: LambdaHandler, path: str) -> None:
    for number, (headers, body) in enumerate(SENT, len(METHODS)):
        here = server.request("POST", path, body, headers)
        there = on_lambda(function, number, event("POST", path, body, headers=headers))
        assert told(here.status, here.headers, here.body) == there, headers


def test_an_answer_to_head_has_no_body(server: Server, function: LambdaHandler) -> None:
    for path in ("/healthz", "/v1/enroll", "/nope"):
        answer = function(event("HEAD", path), Context())
        assert (answer["body"], answer["isBase64Encoded"]) == ("", False)
        assert server.request("HEAD", path).body == b""
