"""The bridge from API Gateway's events to the application: the same answers, and no secret told."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from keyborn.domain.errors import RegistryUnavailable
from keyborn.domain.token import encode_secret
from keyborn.http import problems
from keyborn.http.app import Service, build_app
from keyborn.http.bodies import BrokerAddress
from keyborn.http.guards import MAX_BODY
from keyborn.http.lambda_handler import RESERVE, THREADS, Answer, Deadline, LambdaHandler
from support.csr_make import make_csr
from support.lambda_events import SOURCE, Context, enroll_event, event
from support.office import OfficeWorld

SECRET = "hunter2-do-not-tell"


async def ready() -> None:
    """Always."""


@pytest.fixture
def world(tmp_path: Path) -> OfficeWorld:
    return OfficeWorld(tmp_path)


@pytest.fixture
def handler(world: OfficeWorld) -> Iterator[LambdaHandler]:
    broker = BrokerAddress("broker.example", 8883, "certtest", world.ca.roots_pem, world.ca.chain_pem)
    handler = LambdaHandler(build_app(Service(world.authority, broker, ready)))
    yield handler
    handler.close()


def answering(
    route: Callable[[Request], Awaitable[Response]], within: Deadline = lambda _seconds: nullcontext()
) -> LambdaHandler:
    """A handler over one route at ``/``, with our map of errors."""
    methods = ["GET", "POST"]
    app = Starlette(routes=[Route("/", route, methods=methods)], exception_handlers=problems.HANDLERS)
    return LambdaHandler(app, within=within)


def ask(handler: LambdaHandler, sent: dict[str, Any], milliseconds: int = 15_000) -> Answer:
    """Invoke once and close."""
    try:
        return handler(sent, Context(milliseconds))
    finally:
        handler.close()


def problem(answer: Answer) -> dict[str, Any]:
    assert answer["headers"]["content-type"] == problems.MEDIA_TYPE
    assert not answer["isBase64Encoded"]
    document: dict[str, Any] = json.loads(answer["body"])
    assert document["status"] == answer["statusCode"]
    return document


def token_for(world: OfficeWorld, name: str) -> str:
    return encode_secret(asyncio.run(world.token(name)).code.secret)


@pytest.mark.parametrize("encoded", [False, True], ids=["text", "base64"])
def test_a_device_enrolls_whichever_way_its_body_arrives(
    world: OfficeWorld, handler: LambdaHandler, *, encoded: bool
) -> None:
    secret, (_, csr) = token_for(world, "dev-1"), make_csr("dev-1")
    first = handler(enroll_event("dev-1", csr, secret, encoded=encoded), Context())
    again = handler(enroll_event("dev-1", csr, secret, encoded=not encoded), Context())
    assert (first["statusCode"], again["statusCode"]) == (201, 200)
    assert first["body"] == again["body"]
    assert json.loads(first["body"])["mqtt"]["topic"] == "certtest/dev-1"
    assert first["headers"] == {"content-type": "application/json"}


def test_the_source_is_what_the_gateway_saw_and_not_what_a_header_says(
    world: OfficeWorld, handler: LambdaHandler
) -> None:
    sent = event("POST", "/v1/enroll", "{}", headers={"x-forwarded-for": "198.51.100.1"})
    assert problem(handler(sent, Context()))["code"] == "credential_missing"
    records = asyncio.run(world.registry.records())
    assert [record.event.source for record in records][-1] == SOURCE


def test_the_compatibility_door_is_open_too(world: OfficeWorld, handler: LambdaHandler) -> None:
    secret, (_, csr) = token_for(world, "dev-2"), make_csr("dev-2")
    sent = enroll_event("dev-2", csr, secret)
    sent["rawPath"] = "/getCertificate"
    answer = handler(sent, Context())
    assert answer["statusCode"] == 200
    assert answer["body"].startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/trust-bundle", "/openapi.json"])
def test_everything_that_is_read_is_answered_as_text(handler: LambdaHandler, path: str) -> None:
    answer = handler(event("GET", path), Context())
    assert answer["statusCode"] == 200
    assert answer["body"]
    assert not answer["isBase64Encoded"]


def test_an_unknown_route_and_a_wrong_method_are_problems(handler: LambdaHandler) -> None:
    assert problem(handler(event("GET", "/nope"), Context()))["code"] == "not_found"
    wrong = handler(event("GET", "/v1/enroll"), Context())
    assert problem(wrong)["status"] == 405
    assert wrong["headers"]["allow"] == "POST"


def test_nobody_is_sent_where_a_host_header_says(handler: LambdaHandler) -> None:
    sent = event("GET", "/healthz/", headers={"host": "evil.example"})
    assert problem(handler(sent, Context()))["status"] == 404


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("encoded", [True, False])
def test_a_body_over_the_limit_is_refused_before_the_credential_is_looked_at(
    handler: LambdaHandler, *, encoded: bool, declared: bool
) -> None:
    body = b"x" * (MAX_BODY + 1)
    sent = event("POST", "/v1/enroll", body if encoded else body.decode())
    if not declared:
        del sent["headers"]["content-length"]
    answer = handler(sent, Context())
    assert problem(answer)["status"] == 413
    assert "connection" not in answer["headers"]  # API Gateway has connections of its own


def test_a_body_at_the_limit_is_read(handler: LambdaHandler) -> None:
    answer = handler(event("POST", "/v1/enroll", b"x" * MAX_BODY), Context())
    assert problem(answer)["code"] == "credential_missing"


@pytest.mark.parametrize("body", ["%%%", "QUJD\n", "QQ", "é"])
def test_base64_that_is_none_is_a_malformed_request(handler: LambdaHandler, body: str) -> None:
    sent = event("POST", "/v1/enroll", b"") | {"body": body}
    del sent["headers"]["content-length"]
    assert problem(handler(sent, Context()))["code"] == "malformed_request"


def test_a_body_that_no_route_reads_is_not_decoded(handler: LambdaHandler) -> None:
    assert handler(event("GET", "/healthz", b"") | {"body": "%%%"}, Context())["statusCode"] == 200


def test_what_a_route_throws_is_an_internal_problem_and_its_text_is_nowhere(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def throws(_request: Request) -> Response:
        raise ZeroDivisionError(SECRET)

    with caplog.at_level("DEBUG"):
        answer = ask(answering(throws), event(path="/"))
    assert problem(answer)["code"] == "internal"
    assert answer["statusCode"] == 500
    assert "ZeroDivisionError" in caplog.text
    assert all(record.exc_info is None for record in caplog.records)
    assert SECRET not in f"{answer}{caplog.text}{capfd.readouterr()}"


def test_an_outage_is_503_with_the_time_to_wait() -> None:
    async def unavailable(_request: Request) -> Response:
        raise RegistryUnavailable(seconds=7)

    answer = ask(answering(unavailable), event(path="/"))
    assert problem(answer)["code"] == "registry_unavailable"
    assert answer["headers"]["retry-after"] == "7"


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"version": "1.0", "path": SECRET},
        {"version": "2.0"},
        {"version": "2.0", "rawPath": SECRET, "requestContext": {}},
        event() | {"rawPath": None},
        event() | {"headers": {"x": 1}},
    ],
)
def test_an_event_of_another_kind_is_an_internal_problem(
    handler: LambdaHandler, caplog: pytest.LogCaptureFixture, sent: dict[str, Any]
) -> None:
    answer = handler(sent, Context())
    assert problem(answer)["code"] == "internal"
    assert SECRET not in f"{answer}{caplog.text}"


def test_an_application_that_says_nothing_is_an_internal_problem() -> None:
    async def silent(_request: Request) -> Response:
        return Silent()

    assert problem(ask(answering(silent), event(path="/")))["code"] == "internal"


class Silent(Response):
    """A response that sends only its head."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})


def test_a_request_that_takes_too_long_is_answered_before_the_function_is_ended() -> None:
    async def slow(_request: Request) -> Response:
        await asyncio.sleep(60)
        return PlainTextResponse("late")

    began = time.monotonic()
    answer = ask(answering(slow), event(path="/"), milliseconds=450)
    assert time.monotonic() - began < 30
    assert problem(answer)["code"] == "overloaded"
    assert answer["headers"]["retry-after"] == "2"


def test_the_application_is_told_how_long_it_has() -> None:
    given_times: list[float] = []

    @contextmanager
    def within(seconds: float) -> Iterator[None]:
        given_times.append(seconds)
        yield

    async def quick(_request: Request) -> Response:
        return PlainTextResponse("ok")

    ask(answering(quick, within=within), event(path="/"), milliseconds=9_000)
    assert given_times == [pytest.approx(9.0 - RESERVE)]


def test_one_event_loop_serves_all_requests_of_an_instance() -> None:
    loops = set()

    async def look(_request: Request) -> Response:
        loops.add(asyncio.get_running_loop())
        return PlainTextResponse("ok")

    handler = answering(look)
    for _ in range(3):
        handler(event(path="/"), Context())
    handler.close()
    assert len(loops) == 1


def test_what_goes_side_by_side_does_so_however_few_processors_there_are() -> None:
    together = threading.Barrier(THREADS, timeout=30)

    async def many(_request: Request) -> Response:
        await asyncio.gather(*(asyncio.to_thread(together.wait) for _ in range(THREADS)))
        return PlainTextResponse("ok")

    assert ask(answering(many), event(path="/"))["statusCode"] == 200


def test_bytes_that_are_no_text_are_answered_in_base64() -> None:
    async def picture(_request: Request) -> Response:
        return Response(b"\x89PNG\xff", headers={"X-Two": "a"}, media_type="image/png")

    answer = ask(answering(picture), event(path="/"))
    assert answer["isBase64Encoded"]
    assert base64.b64decode(answer["body"]) == b"\x89PNG\xff"
    assert answer["headers"]["content-type"] == "image/png"


def test_a_header_given_twice_is_joined() -> None:
    async def twice(_request: Request) -> Response:
        response = PlainTextResponse("ok")
        response.headers.append("vary", "a")
        response.headers.append("vary", "b")
        return response

    assert ask(answering(twice), event(path="/"))["headers"]["vary"] == "a, b"


def test_path_and_query_arrive_as_they_were_meant() -> None:
    async def echo(request: Request) -> Response:
        return PlainTextResponse(f"{request.url.path} {request.query_params['q']} {request.method}")

    app = Starlette(routes=[Route("/a b", echo)])
    answer = ask(LambdaHandler(app), event(path="/a%20b", query="q=%C3%BC"))
    assert answer["body"] == "/a b ü GET"


@settings(max_examples=60, deadline=None)
@given(
    body=st.one_of(st.none(), st.text(max_size=200), st.binary(max_size=200)),
    headers=st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=40), max_size=4),
    path=st.text(max_size=40),
    method=st.sampled_from(["GET", "POST", "PUT", "BREW"]),
)
def test_whatever_arrives_is_answered(
    body: str | bytes | None, headers: dict[str, str], path: str, method: str
) -> None:
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    answer = ask(answering(echo), event(method, f"/{path}", body, headers=headers))
    assert answer["statusCode"] in {200, 404, 405}
