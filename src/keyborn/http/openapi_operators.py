"""The operator's part of the OpenAPI document, from the routes themselves."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.routing import BaseRoute

from keyborn.http.problems import MEDIA_TYPE
from keyborn.http.roles import OperatorRoute

TAG = "operator"
_PART = re.compile(r"\{(\w+):path\}")
_PROBLEMS = {
    "400": "The body or a parameter is refused; `code` says why.",
    "401": "No API key, or not a valid one, or one that has expired.",
    "403": "The key's role is too low for this.",
    "404": "There is no such record.",
    "409": "The registry says otherwise.",
    "413": "More bytes than this route takes.",
    "429": "Too many failures of this address; Retry-After says when to come back.",
    "503": "Busy, or the registry cannot write; Retry-After says when to come back.",
    "500": "A fault of the service.",
}


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """One method of one operator's route."""

    method: str
    path: str
    """With its parameters in braces."""
    role: str
    summary: str
    body: type[msgspec.Struct] | None
    query: tuple[str, ...] = ()


def operator_calls(routes: Iterable[BaseRoute]) -> tuple[OperatorCall, ...]:
    """What of ``routes`` an operator may call from elsewhere."""
    return tuple(
        OperatorCall(
            method, _PART.sub(r"{\1}", route.path), route.role.value, _summary(route), route.body, route.query
        )
        for route in routes
        if isinstance(route, OperatorRoute) and route.role is not None
        for method in sorted((route.methods or set()) - {"HEAD"})
    )


_LINES = frozenset({"/v1/audit/export"})
"""What answers with lines of JSON."""


_REPEATABLE = frozenset({"where"})


def operator_paths(calls: Iterable[OperatorCall]) -> dict[str, Any]:
    """The ``paths`` of these calls."""
    paths: dict[str, Any] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return paths


def _operation(call: OperatorCall) -> dict[str, Any]:
    name = re.sub(r"\W+", "-", f"{call.method.lower()}{call.path.removeprefix('/v1')}").strip("-")
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    kind = "application/jsonl" if call.path in _LINES else "application/json"
    done = {"description": "Done.", "content": {kind: {"schema": {}}}}
    status = {"200": done} | ({"201": done} if call.method == "POST" else {})
    operation: dict[str, Any] = {
        "operationId": f"operator-{name}",
        "tags": [TAG],
        "summary": call.summary,
        "description": f"Takes an API key with the role {call.role}.",
        "security": [{"apiKey": []}],
        "parameters": [
            *(_parameter(one) for one in re.findall(r"\{(\w+)\}", call.path)),
            *map(_question, call.query),
        ],
        "responses": status | {code: _answer(text, problem) for code, text in _PROBLEMS.items()},
    }
    if call.body is not None:
        schema = {"$ref": f"#/components/schemas/{call.body.__name__}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _answer(text: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": content}


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _question(name: str) -> dict[str, Any]:
    """A parameter that may be left out."""
    text = {"type": "string"}
    schema = {"type": "array", "items": text} if name in _REPEATABLE else text
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _summary(route: OperatorRoute) -> str:
    """The first line of what its handler says of itself."""
    return (route.endpoint.__doc__ or "").strip().partition("\n")[0]
