"""Around an application: ids that callers do not choose, routes instead of paths, log lines that parse."""

import contextlib
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

import reference
from keyborn.domain.errors import CredentialRefused
from keyborn.http import openapi, problems
from keyborn.http.admin import build_admin
from keyborn.http.observing import ACCESS, NOUNS, Observing, route_of
from keyborn.http.request_mark import current
from keyborn.service import figures
from keyborn.service.figures import COUNTED
from keyborn.service.meter import Meter
from keyborn.wiring.log_lines import JsonLines, TextLines

ID = re.compile(r"[0-9a-f]{16}")
CANARY = "canary-0815"


async def fine(_request: Request) -> Response:
    logging.getLogger("keyborn.test").warning("at work")
    return PlainTextResponse("fine")


async def refused(_request: Request) -> Response:
    raise CredentialRefused


async def faulty(_request: Request) -> Response:
    raise LookupError(CANARY)


def scope(path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Scope:
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": raw,
        "client": ("192.0.2.7", 1234),
        "http_version": "1.1",
        "scheme": "https",
        "server": None,
        "root_path": "",
    }


class World:
    """An application with what is around it."""

    def __init__(self, *, access_log: bool = False) -> None:
        self.meter = Meter(COUNTED)
        routes = [Route("/v1/enroll", fine, methods=["GET", "POST"]), Route("/v1/renew", refused)]
        app = Starlette(
            routes=[*routes, Route("/v1/things/{name}", faulty)], exception_handlers=problems.HANDLERS
        )
        self.app = Observing(app, self.meter, access_log=access_log)

    async def ask(self, path: str, **more: Any) -> tuple[int, dict[str, str], bytes]:  # noqa: ANN401 - scope's
        said: list[Message] = []

        async def _receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def _send(message: Message) -> None:
            said.append(message)

        with contextlib.suppress(LookupError):
            await self.app(scope(path, **more), _receive, _send)
        headers = {name.decode(): value.decode() for name, value in said[0]["headers"]}
        return said[0]["status"], headers, b"".join(each.get("body", b"") for each in said[1:])


async def test_each_answer_has_an_id_of_its_own_whatever_the_caller_sends() -> None:
    world = World()
    wish = {"x-request-id": "0000000000000000"}
    told = [(await world.ask("/v1/enroll", headers=wish))[1]["x-request-id"] for _ in range(3)]
    assert len({*told, wish["x-request-id"]}) == 4
    assert all(ID.fullmatch(each) for each in told)
    assert current.get() is None


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/renew", 401, "credential_refused"),
        ("/nowhere", 404, "not_found"),
        (f"/v1/things/{CANARY}", 500, "internal"),
    ],
)
async def test_a_problem_says_the_id_and_is_counted_by_its_code(path: str, status: int, code: str) -> None:
    world = World()
    got, headers, body = await world.ask(path)
    problem = json.loads(body)
    assert (got, problem["code"]) == (status, code)
    assert problem["requestId"] == headers["x-request-id"]
    told = world.meter.snapshot()
    assert told[figures.HTTP_PROBLEMS] == {f"{route_of(path)} {code}": [1]}
    assert list(told[figures.HTTP_SECONDS]) == [f"{route_of(path)} {status // 100}xx"]
    assert CANARY not in str(told)


async def test_what_is_fine_is_no_problem() -> None:
    world = World()
    await world.ask("/v1/enroll")
    assert set(world.meter.snapshot()) == {figures.HTTP_SECONDS}


async def test_outside_of_a_request_a_problem_has_no_id() -> None:
    assert b"requestId" not in bytes(problems.answer_problem(CredentialRefused()).body)


def test_routes_are_told_apart_as_they_are_served() -> None:
    """The list of paths, and that of nouns, are the interface's own."""
    assert not openapi_paths() - figures.PATHS
    served = {each.path for each in build_admin(reference.every_office()).routes if isinstance(each, Route)}
    assert {path.split("/")[2] for path in served} - {"metrics"} == NOUNS
    for path in served - figures.PATHS - {"/v1/metrics"}:
        assert route_of(path) == figures.OPERATOR


def openapi_paths() -> set[str]:
    return set(json.loads(openapi.document(renewal=True, reports=True))["paths"])


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", f"/v1/{CANARY}", "/v2/things", "x/v1/things"])
def test_any_other_path_is_other(path: str) -> None:
    assert route_of(path) == figures.OTHER


# ── the log ───────────────────────────────────────────────────────────────────────────────────────────


class Lines(logging.Handler):
    """Keeps what a formatter makes of each record."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def lines(request: pytest.FixtureRequest) -> Callable[[logging.Formatter], list[str]]:
    """Start to keep the lines of a formatter."""

    def _keep(formatter: logging.Formatter) -> list[str]:
        handler = Lines(formatter)
        for name in (ACCESS, "keyborn.test"):
            log = logging.getLogger(name)
            log.addHandler(handler)
            log.setLevel(logging.INFO)
            request.addfinalizer(lambda log=log: (log.removeHandler(handler), log.setLevel(logging.NOTSET)))  # type: ignore[misc]
        return handler.lines

    return _keep


async def test_a_request_and_what_happens_in_its_course_have_one_id(
    lines: Callable[[logging.Formatter], list[str]],
) -> None:
    kept = lines(JsonLines())
    _, headers, _ = await World(access_log=True).ask(f"/v1/enroll?{CANARY}", method="BREW-" + CANARY)
    _, headers, _ = await World(access_log=True).ask("/v1/enroll", method="POST")
    first, work, access = (json.loads(line) for line in kept)
    assert work["requestId"] == access["requestId"] == headers["x-request-id"]
    assert (work["logger"], work["level"], work["message"]) == ("keyborn.test", "warning", "at work")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", work["time"])
    assert (access["method"], access["route"], access["status"]) == ("POST", "/v1/enroll", 200)
    assert (access["source"], access["milliseconds"] >= 0) == ("192.0.2.7", True)
    assert (first["method"], first["route"]) == (figures.OTHER, figures.OTHER)
    assert CANARY not in "".join(kept)


async def test_lines_for_people_end_with_the_id(lines: Callable[[logging.Formatter], list[str]]) -> None:
    kept = lines(TextLines())
    _, headers, _ = await World().ask("/v1/enroll")
    assert kept[0].endswith(f"WARNING keyborn.test at work request={headers['x-request-id']}")
    logging.getLogger("keyborn.test").warning("outside")
    assert kept[1].endswith("WARNING keyborn.test outside")


@pytest.mark.parametrize("said", ['a\nb"\\\x00', "\u2028", "\ud800", "ü", ""])
def test_whatever_is_logged_is_one_line_of_json(said: str) -> None:
    facts = {"name": "x", "levelname": "WARNING", "msg": "%s", "args": (said,)}
    record = logging.makeLogRecord({**facts, "fields": {"level": "mine", "more": object}})
    line = JsonLines().format(record)
    told = json.loads(line)
    assert (told["message"], told["level"], told["more"]) == (said, "warning", str(object))
    assert line.isascii()
    assert len(line.splitlines()) == 1


def test_a_trace_is_a_member_of_its_line() -> None:
    trouble = ValueError("two\nlines")
    line = JsonLines().format(logging.makeLogRecord({"exc_info": (ValueError, trouble, None)}))
    assert json.loads(line)["trace"].endswith("ValueError: two\nlines")


async def test_being_observed_takes_microseconds(figure: Callable[[str], None]) -> None:
    async def _app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def _receive() -> Message:
        raise AssertionError

    async def _send(_message: Message) -> None:
        pass

    asked = scope("/v1/enroll")

    async def _round(app: Any) -> float:  # noqa: ANN401 - ASGI
        began = time.perf_counter_ns()
        for _ in range(500):
            await app(asked, _receive, _send)
        return (time.perf_counter_ns() - began) / 500_000

    observed = Observing(_app, Meter(COUNTED))
    took = min([await _round(observed) for _ in range(20)]) - min([await _round(_app) for _ in range(20)])
    figure(f"a request id, its time and its outcome cost {took:.1f} µs a request")
    assert took < 20
