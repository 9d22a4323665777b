"""The table of devices' paths: what it answers itself, what it leaves to Starlette, and what it refuses."""

from collections.abc import Mapping
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from keyborn.domain.errors import MalformedRequest, Overloaded
from keyborn.http.dispatch import Dispatch
from keyborn.http.incoming import Incoming, header, source_of

SECRET = "canary-0815"


async def ask(app: Dispatch, method: str, path: str) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of the answer."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "https",
        "server": ("localhost", 443),
        "headers": [(b"host", b"localhost")],
        "client": ("192.0.2.1", 5),
    }
    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(part["body"] for part in sent[1:])


async def door(request: Incoming) -> Response:
    return PlainTextResponse(f"door {source_of(request)} {header(request, b'host')}")


async def refusing(_request: Incoming) -> Response:
    raise Overloaded(seconds=3)


async def malformed(_request: Incoming) -> Response:
    raise MalformedRequest(detail="it is odd")


async def faulty(_request: Incoming) -> Response:
    raise LookupError(SECRET)


async def beside(request: Request) -> Response:
    return PlainTextResponse(f"beside {request.path_params.get('name', '')}")


@pytest.fixture
def app() -> Dispatch:
    made = Dispatch(
        [
            ("POST", "/v1/roots", door),
            ("GET", "/look", door),
            ("POST", "/busy", refusing),
            ("POST", "/odd", malformed),
            ("POST", "/faulty", faulty),
        ]
    )
    made.add(
        [
            Route("/v1/roots", beside, methods=["GET"]),
            Route("/v1/roots", beside, methods=["DELETE"]),
            Route("/v1/things/{name}", beside, methods=["GET"]),
        ]
    )
    return made


async def test_a_door_answers_at_exactly_its_path_and_method(app: Dispatch) -> None:
    status, _, body = await ask(app, "POST", "/v1/roots")
    assert (status, body) == (200, b"door 192.0.2.1 ['localhost']")


async def test_get_comes_with_head(app: Dispatch) -> None:
    assert (await ask(app, "HEAD", "/look"))[0] == 200


async def test_added_routes_answer_beside_the_doors(app: Dispatch) -> None:
    assert (await ask(app, "GET", "/v1/roots"))[2] == b"beside "
    assert (await ask(app, "GET", "/v1/things/a"))[2] == b"beside a"
    assert [route.path for route in app.routes if isinstance(route, Route)] == [
        "/v1/roots",
        "/v1/roots",
        "/v1/things/{name}",
    ]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/roots", "DELETE, GET, HEAD, POST"),
        ("POST", "/look", "GET, HEAD"),
        ("GET", "/busy", "POST"),
        ("PUT", "/v1/things/a", "GET, HEAD"),
        ("get", "/look", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_there_is_told_which_are(
    app: Dispatch, method: str, path: str, allow: str
) -> None:
    status, headers, body = await ask(app, method, path)
    assert (status, headers["allow"]) == (405, allow)
    assert headers["content-type"] == "application/problem+json"
    assert b'"code":"method_not_allowed"' in body


@pytest.mark.parametrize("path", ["/nothing", "/look/", "//look", "/LOOK", "/look\n", "", "/v1/things/a/b"])
async def test_another_path_is_404_and_never_a_redirect(app: Dispatch, path: str) -> None:
    status, headers, body = await ask(app, "GET", path)
    assert status == 404
    assert "location" not in headers
    assert b'"code":"not_found"' in body


async def test_what_a_door_raises_becomes_its_problem_document(app: Dispatch) -> None:
    status, headers, _ = await ask(app, "POST", "/busy")
    assert (status, headers["retry-after"]) == (503, "3")
    status, _, body = await ask(app, "POST", "/odd")
    assert status == 400
    assert b'"code":"malformed_request"' in body


async def test_a_fault_says_nothing_and_is_logged_without_its_content(
    app: Dispatch, caplog: pytest.LogCaptureFixture
) -> None:
    status, _, body = await ask(app, "POST", "/faulty")
    assert status == 500
    assert b'"code":"internal"' in body
    assert "LookupError" in caplog.text
    assert SECRET not in caplog.text + body.decode()
